/* setup.h - `hunnypot setup`: what it is asked for, by options or answers, and the files that it changes.
 *
 * A file is changed in a block of our own between two marks, or is ours as a whole.  What we wrote is kept in SETUP_FOLDER, so
 * that lines which somebody changed since can be told: these are left alone.  So is the file as it was before (FILE.before).
 * Threads:  one.
 * Owns:     a change owns its texts.
 * Fails:    CLI_OK, or a status after a line that says why.
 */
#ifndef CLI_SETUP_H
#define CLI_SETUP_H

#include "base/envelope_key.h"
#include "base/ipaddr.h"
#include "cli/cli.h"
#include "settings/settings.h"

#define SETUP_FOLDER HP_SYSCONFDIR "/hunnypot/setup"
#define SETUP_SETTINGS HP_SYSCONFDIR "/hunnypot.conf"
#define SETUP_OPERATOR HP_SYSCONFDIR "/hunnypot/operator" /* environment of the units that run as hunnypot-operator */
#define SETUP_DATABASE "dbname=hunnypot"                /* what all take where nothing is said */
#define SETUP_SOCKET "/run/hunnypot/milter.sock"

enum { SETUP_ADDRESSES_MAX = 32 };

struct setup_domain {
    char name[DOMAIN_MAX + 1];
    const char *role; /* "auto", "trap" ... */
};

struct setup {
    struct cli *cli;
    bool sendmail, apply, undo;
    struct setup_domain domains[CLI_TEXTS_MAX];
    size_t domain_count;
    struct ipaddr addresses[SETUP_ADDRESSES_MAX]; /* where the trap listens */
    size_t address_count;
    const char *key_file; /* NULL: none was given */
    char *program;        /* our own, as a word of a command */
    char *conninfo, *daemon_conninfo, *reader_conninfo; /* the database as given, and as the daemon and root reach it */
    bool remote;
    bool role_named; /* in the database as given: who does that cares for the roles */
};

/* What options say, or answers. */
struct setup_asked {
    const char *mta;
    struct cli_texts domains, addresses;
    bool dry_run;
    char *database, *line, *key; /* answers: of these, LINE is what `domains` point into */
};

/* "NAME" or "NAME=ROLE"; CLI_OK or CLI_USAGE. */
int setup_take_domain(struct setup_domain *domain, const char *text);

/* Ask the person at the terminal for all of ASKED, whose answers the caller frees, and for SETUP's key_file. */
int setup_ask(struct setup *setup, struct setup_asked *asked);
void setup_ask_print(const struct setup *setup, const struct setup_asked *asked);
bool setup_ask_apply(void);

/* One file. */
struct setup_change {
    const char *path, *lead; /* what begins a comment there; NULL: the whole file is ours */
    char *old, *base, *new;  /* as it is (NULL: not there), without what is ours, and as it is to be (NULL: gone) */
    char *written;           /* what we wrote last; NULL: nothing */
};

/* Read PATH and find what is ours in it; refused, with the differences, where that was changed since. */
int setup_file_open(struct setup_change *change, const char *path, const char *lead);

/* The block with BODY, and in it the lines WAS ("" for none), in whose place it stands, for undo.  The caller frees. */
char *setup_file_block(const struct setup_change *change, const char *body, const char *was);

bool setup_file_differs(const struct setup_change *change);
void setup_file_show(const struct setup_change *change);
int setup_file_write(const struct setup_change *change);
int setup_file_restore(const struct setup_change *change);
void setup_file_free(struct setup_change *change);

/* Write TEXT to PATH, which is made with MODE and UID where it is not there, else keeps its own. */
int setup_file_put(const char *path, const char *text, unsigned mode, uid_t uid, gid_t gid);

/* The mail server's files: CHANGES, of which there are *COUNT, are opened, and have what they are to be. */
enum {
    SETUP_MTA_UNIT = 2, /* of sendmail: the daemon's unit, without which it does not start there */
    SETUP_MTA_CHANGES = 3
};
int setup_mta_prepare(struct setup *setup, struct setup_change changes[SETUP_MTA_CHANGES], size_t *count);

/* Have the mail server check its new configuration, and take it; CLI_FAILED when it is not fine. */
int setup_mta_check(const struct setup *setup);
int setup_mta_reload(const struct setup *setup);

/* Where the database is: TEXT is what --database takes, "" for the usual one. */
int setup_take_database(struct setup *setup, const char *text);

/* What --database was when setup wrote DATABASE into the settings; the caller frees. */
char *setup_database_given(const char *database);

/* Database, schema, roles and the key of envelopes: say what is missing, and with `apply` make it.  *CHANGED: something was. */
int setup_database(struct setup *setup, bool *changed);

#endif
