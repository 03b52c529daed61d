/* db.h - a PostgreSQL connection.  Only this module and base/conninfo know libpq.
 *
 * Every call is bounded in time and can be cut short from another thread by making STOP_FD readable, also while the
 * server is frozen.  After DB_UNREACHABLE and DB_STOPPED the connection is gone: every further call says DB_UNREACHABLE.
 * Threads:  a connection belongs to one thread.
 * Owns:     what it returns belongs to the caller where it says so.
 * Fails:    enum db_status, and db_why(): one printable line without a password.
 */
#ifndef RECORD_DB_H
#define RECORD_DB_H

#include <stdbool.h>
#include <stddef.h>

enum db_status {
    DB_OK,
    DB_UNREACHABLE, /* no connection, or it broke, or the time ran out: reconnect; what was sent may or may not have happened */
    DB_STOPPED,     /* STOP_FD became readable */
    DB_REFUSED,     /* this data will never be taken: SQLSTATE class 22 or 23 */
    DB_DENIED,      /* wrong password, no permission, no such database or role: class 28, 3D, 42501 */
    DB_MISSING,     /* a schema, table or function is not there: 3F000, 42P01, 42883: not initialised, or another version */
    DB_READ_ONLY,   /* 25006: a standby, or set so: of several hosts another may do */
    DB_ERROR        /* anything else; may go away (deadlock, out of space, shutting down) */
};

struct db;
struct db_result;

/* Connect with CONNINFO (a connection string or URI; what it leaves out comes from libpq's usual places, except that
 * the database is called "hunnypot" when nothing names one).  STOP_FD may be -1.  On failure *DB is still made, for
 * db_why(); the caller closes it in any case. */
enum db_status db_connect(struct db **db, const char *conninfo, const char *application, int timeout_ms, int stop_fd)
    __attribute__((warn_unused_result));
void db_close(struct db **db);

const char *db_why(const struct db *db);      /* "" when the last call was fine */

/* One parameter: TYPE is an OID or 0; a NULL VALUE is SQL's NULL; LENGTH counts when BINARY. */
struct db_param {
    unsigned type;
    const char *value;
    int length;
    bool binary;
};

/* One statement with parameters; RESULT (may be NULL) belongs to the caller. */
enum db_status db_query(struct db *db, int timeout_ms, const char *sql, const struct db_param *params,
                        size_t param_count, struct db_result **result) __attribute__((warn_unused_result));

/* The same with text parameters only, ended by a NULL pointer; "no parameter" is SQL text "" and never NULL here. */
enum db_status db_query_texts(struct db *db, int timeout_ms, const char *sql, const char *const *texts,
                              size_t text_count, struct db_result **result) __attribute__((warn_unused_result));

/* Any number of statements without parameters (a schema file), as one implicit or explicit transaction.  After an error
 * an explicit transaction is left broken: the caller says ROLLBACK or closes. */
enum db_status db_script(struct db *db, int timeout_ms, const char *sql) __attribute__((warn_unused_result));

size_t db_rows(const struct db_result *result);
size_t db_columns(const struct db_result *result);
const char *db_column_name(const struct db_result *result, size_t column);
unsigned db_column_type(const struct db_result *result, size_t column); /* an OID */
const char *db_value(const struct db_result *result, size_t row, size_t column); /* NULL: SQL's NULL */
void db_result_free(struct db_result **result);

/* Run COPY ... TO STDOUT, giving each piece to SINK; SINK returns false to break off (DB_ERROR then).  DB_OK only when
 * the server said that the end was reached.  TIMEOUT_MS is for each piece. */
enum db_status db_copy_out(struct db *db, int timeout_ms, const char *sql,
                           bool (*sink)(void *context, const char *data, size_t length), void *context)
    __attribute__((warn_unused_result));

/* After LISTEN: wait for a notification; DB_OK with *CHANNEL and *PAYLOAD (caller frees both) or both NULL when TIMEOUT_MS went by. */
enum db_status db_wait_notify(struct db *db, int timeout_ms, char **channel, char **payload)
    __attribute__((warn_unused_result));

#endif
