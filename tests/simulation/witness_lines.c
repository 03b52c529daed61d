/* witness_lines: the witnesses of many primaries in one process, each with its own log and ledger, on virtual time.
 *
 * What `hunnypot witness` is made of (intake, ledger, tell), fed with lines of logs by the simulation.  Lines on standard input:
 *     clock MS                  it is MS (milliseconds since 1970) now
 *     open MX MACHINE           a witness of this MX name begins
 *     line MX FRESH TEXT        its log says TEXT; FRESH is 1 when that was written just now, or 0
 *     tell MX                   it asks the database what waits and tells what it found; answered "told STATUS" (0: all well)
 * Arguments: a format, a key file, the folder of the ledgers, a connection string, and a text that refusals because of the list have.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/envelope_key.h"
#include "base/hash.h"
#include "fake_clock.h"
#include "record/db.h"
#include "witness/intake.h"
#include "witness/ledger.h"
#include "witness/logformat.h"
#include "witness/tell.h"

#define QUIET_US (INT64_C(1800) * 1000000) /* as --quiet has it */

struct reader {
    UT_hash_handle hh;
    struct ledger *ledger;
    struct intake *intake;
    struct tell tell;
    char *machine;
    bool reading; /* in a transaction of the ledger */
    char mx[];
};

static struct {
    struct logformat *format;
    struct envelope_keys keys;
    const char *folder;
    const char *refusal;
    struct db *db;
    struct reader *readers;
} this;

static void __attribute__((noreturn)) die(const char *what, const char *why)
{
    fprintf(stderr, "witness_lines: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static void reader_open(const char *mx, const char *machine)
{
    struct reader *reader = alloc_zeroed(1, sizeof *reader + strlen(mx) + 1);
    struct intake_config config = {
        .format = this.format, .refusals = &this.refusal, .refusal_count = 1, .quiet_us = QUIET_US};
    char *path = alloc_format("%s/%s@%s.ledger", this.folder, machine, mx), why[LEDGER_WHY_SIZE];

    strcpy(reader->mx, mx);
    reader->machine = alloc_text(machine);
    if (!ledger_open(&reader->ledger, path, &this.keys, why))
        die(path, why);
    free(path);
    config.ledger = reader->ledger;
    reader->intake = intake_create(&config, why);
    if (reader->intake == NULL)
        die(mx, why);
    reader->tell = (struct tell){
        .db = this.db, .ledger = reader->ledger, .mx = reader->mx, .machine = reader->machine, .keys = &this.keys};
    HASH_ADD_STR(this.readers, mx, reader);
}

static struct reader *reader_find(const char *mx)
{
    struct reader *reader;

    HASH_FIND_STR(this.readers, mx, reader);
    if (reader == NULL)
        die(mx, "is not open");
    return reader;
}

static void reader_line(struct reader *reader, const char *text)
{
    const struct source_entry entry = {.text = text + 2};
    int64_t now_us = clock_realtime_us();

    if (!reader->reading && !ledger_begin(reader->ledger))
        die(reader->mx, ledger_why(reader->ledger));
    reader->reading = true;
    if (!intake_entry(reader->intake, &entry, now_us, now_us, text[0] == '1'))
        die(reader->mx, ledger_why(reader->ledger));
}

static void reader_tell(struct reader *reader)
{
    enum tell_status status;
    bool lost;

    if (!reader->reading && !ledger_begin(reader->ledger))
        die(reader->mx, ledger_why(reader->ledger));
    reader->reading = false;
    if (!ledger_forget(reader->ledger, clock_realtime_us(), &lost) || !ledger_commit(reader->ledger))
        die(reader->mx, ledger_why(reader->ledger));
    status = tell_hello(&reader->tell, reader->intake);
    if (status == TELL_OK)
        status = tell_all(&reader->tell, intake_until_us(reader->intake));
    if (status == TELL_DATABASE)
        die(reader->mx, db_why(this.db));
    printf("told %d\n", status);
}

static void line_take(char *rest)
{
    const char *verb = strtok_r(rest, " ", &rest), *first = strtok_r(NULL, " ", &rest);

    if (verb == NULL || first == NULL)
        die("not understood", "too few words");
    if (strcmp(verb, "clock") == 0)
        fake_clock_set_ms(strtoll(first, NULL, 10));
    else if (strcmp(verb, "open") == 0)
        reader_open(first, rest);
    else if (strcmp(verb, "line") == 0)
        reader_line(reader_find(first), rest);
    else if (strcmp(verb, "tell") == 0)
        reader_tell(reader_find(first));
    else
        die("not understood", verb);
}

static void begin(char **argv)
{
    char why[ENVELOPE_WHY_SIZE + LOGFORMAT_WHY_SIZE];
    bool missing;

    this.format = logformat_read(argv[1], why);
    if (this.format == NULL || !stamp_zone("UTC") || !envelope_keys_read(argv[2], &this.keys, &missing, why))
        die("start", why);
    this.folder = argv[3];
    if (db_connect(&this.db, argv[4], "hunnypot-witness", 10000, -1) != DB_OK)
        die("start", db_why(this.db));
    this.refusal = argv[5];
}

static void end(void)
{
    struct reader *reader, *next;

    HASH_ITER(hh, this.readers, reader, next) {
        HASH_DEL(this.readers, reader);
        intake_destroy(&reader->intake);
        ledger_close(&reader->ledger);
        free(reader->machine);
        free(reader);
    }
    db_close(&this.db);
    logformat_free(&this.format);
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0;

    if (argc != 6)
        die("usage", "FORMAT KEYS FOLDER CONNINFO REFUSAL");
    fake_clock_set_ms(1);
    begin(argv);
    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        line_take(line);
        fflush(stdout);
    }
    free(line);
    end();
    return EXIT_SUCCESS;
}
