/* witness.c - the commands of a witness: the reader of a primary's mail log, and its key.
 *
 * Scenario of `hunnypot witness`: what is new in the log goes into the ledger together with the place behind it, in steps of
 * STEP_ENTRIES, or more while STEP_MS are not over; every TELL_MS, and at the end, the database is asked what waits and told what
 * was found.  While it is away the log is read on, and what was found waits in the ledger. */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/domain.h"
#include "base/envelope_key.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "witness/tell.h"

#define STATE_FOLDER HP_LOCALSTATEDIR "/lib/hunnypot-witness"

enum {
    STEP_ENTRIES = 2000,
    STEP_MS = 1000,      /* hashes lie anywhere in the ledger: a step of few writes nearly as many pages as one of many */
    POLL_MS = 500,       /* a file is asked so often whether there is more */
    TELL_MS = 10000,
    FORGET_MS = 600000,
    AGAIN_MS = 30000,    /* after the database failed */
    REPORT_MS = 3600000,
    HELLO_MS = 300000
};

struct witness {
    /* As asked for. */
    const char *format_name, *mx, *machine, *zone, *match, *key_path, *folder, *quiet, *log;
    struct cli_texts refusals, nat64_texts;
    struct ipnet nat64_prefixes[CLI_TEXTS_MAX];
    bool follow, journal, trying;

    char mx_normal[DOMAIN_MAX + 1], host_name[256];
    struct envelope_keys keys;
    struct logformat *format;
    struct ledger *ledger;
    struct source *source;
    struct intake *intake;
    struct tell tell;
    int64_t tell_ms, forget_ms, hello_ms; /* when next (monotonic) */
    int64_t caught_up_ms; /* when everything was read last; 0: not yet */
    const char *said_gap; /* the last reason that was said */
    bool database_away, clock_off;
};

/* --- beginning --- */

static int read_prefixes(struct witness *witness)
{
    for (size_t i = 0; i < witness->nat64_texts.count; i++) {
        struct ipnet *net = &witness->nat64_prefixes[i];

        if (!ipnet_parse(witness->nat64_texts.texts[i], net) || !ipnet_is_nat64_prefix(net))
            return cli_usage("--nat64-prefix: %s is no prefix of length 32, 40, 48, 56, 64 or 96 with bits 64 to 71 zero",
                             witness->nat64_texts.texts[i]);
    }
    return CLI_OK;
}

/* A path, or the name of one that is installed. */
static int read_logformat(struct witness *witness)
{
    char why[LOGFORMAT_WHY_SIZE], *name, *path;

    if (strchr(witness->format_name, '/') != NULL) {
        witness->format = logformat_read(witness->format_name, why);
        return witness->format != NULL ? CLI_OK : cli_fail("%s", why);
    }
    name = alloc_format("witness/%s", witness->format_name);
    path = cli_data_path(name);
    witness->format = logformat_read(path, why);
    free(name);
    free(path);
    return witness->format != NULL ? CLI_OK
                                   : cli_fail("no format %s: %s (a file of your own: ./NAME)", witness->format_name, why);
}

static int check_names(struct witness *witness)
{
    if (witness->mx == NULL)
        return cli_usage("--host is missing: the name in the MX record whose log this is");
    if (!domain_normalize(witness->mx, witness->mx_normal))
        return cli_usage("--host: %s is no host name", witness->mx);
    if (witness->machine == NULL) {
        if (gethostname(witness->host_name, sizeof witness->host_name - 1) != 0)
            return cli_fail("gethostname: %s", strerror(errno));
        witness->machine = witness->host_name;
    }
    if (*witness->machine == '\0' || strlen(witness->machine) > 253 || strchr(witness->machine, '/') != NULL)
        return cli_usage("--name takes a name without a slash");
    if (strcmp(witness->match, "envelope") != 0 && strcmp(witness->match, "sender") != 0)
        return cli_usage("--match is \"envelope\" or \"sender\"");
    return CLI_OK;
}

static int check_options(struct witness *witness, int argc, char **argv, int first)
{
    if (witness->journal ? first < argc : first + 1 < argc)
        return cli_usage("one log is read, not: %s", argv[witness->journal ? first : first + 1]);
    if (!witness->journal && first == argc)
        return cli_usage("which log? A file, \"-\" for standard input, or --journal");
    witness->log = witness->journal ? "journal" : argv[first];
    if (witness->follow && strcmp(witness->log, "-") == 0)
        return cli_usage("--follow is for files and the journal; standard input is read to its end");
    if (text_duration_ms(witness->quiet) <= 0)
        return cli_usage("--quiet takes a duration, for example 30m");
    if (!stamp_zone(witness->zone))
        return cli_usage("--timezone: there is no zone %s", witness->zone);
    return witness->trying ? CLI_OK : check_names(witness);
}

/* The ledger of this log: its name has nothing in it that a path would mind. */
static int open_ledger(struct witness *witness)
{
    char why[LEDGER_WHY_SIZE];
    char *path = alloc_format("%s/%s@%s.ledger", witness->folder, witness->machine, witness->mx_normal);
    bool ok = ledger_open(&witness->ledger, path, &witness->keys, why);

    free(path);
    return ok ? CLI_OK : cli_fail("%s", why);
}

static int read_keys(struct witness *witness)
{
    char why[ENVELOPE_WHY_SIZE];
    bool missing;

    if (envelope_keys_read(witness->key_path, &witness->keys, &missing, why))
        return CLI_OK;
    return missing ? cli_fail("%s; copy it from a sensor of this database, or make the first one: hunnypot witness key --new",
                              why)
                   : cli_fail("%s", why);
}

/* Which log it is, in the ledger: as it is named, so that it is found again from wherever the command is run. */
static char *log_name(const struct witness *witness)
{
    char *full = witness->journal || strcmp(witness->log, "-") == 0 ? NULL : realpath(witness->log, NULL);

    return full != NULL ? full : alloc_text(witness->log);
}

static int open_source(struct witness *witness)
{
    struct ledger_place place;
    char why[SOURCE_WHY_SIZE], *name = log_name(witness);
    /* It is the one that stays longest. */
    const struct envelope_key *oldest = &witness->keys.keys[witness->keys.count > 0 ? witness->keys.count - 1 : 0];
    bool found = false, ok = witness->ledger == NULL || ledger_place(witness->ledger, name, &place, &found);

    if (strcmp(name, "-") == 0)
        found = false; /* whatever comes from there is new */
    free(name);
    if (!ok)
        return cli_fail("%s", ledger_why(witness->ledger));
    witness->source = witness->journal ? source_open_journal(found ? &place : NULL, witness->follow, why)
                                       : source_open_file(witness->log, found ? &place : NULL, oldest, witness->follow, why);
    return witness->source != NULL ? CLI_OK : cli_fail("%s", why);
}

static int open_intake(struct witness *witness)
{
    struct intake_config config = {.format = witness->format, .ledger = witness->ledger,
                                   .refusals = witness->refusals.texts, .refusal_count = witness->refusals.count,
                                   .nat64_prefixes = witness->nat64_prefixes, .nat64_prefix_count = witness->nat64_texts.count,
                                   .quiet_us = text_duration_ms(witness->quiet) * 1000};
    char why[LEDGER_WHY_SIZE];

    witness->intake = intake_create(&config, why);
    if (witness->intake == NULL)
        return cli_fail("%s", why);
    witness->tell = (struct tell){.ledger = witness->ledger, .mx = witness->mx_normal, .machine = witness->machine,
                                  .by_sender = strcmp(witness->match, "sender") == 0, .keys = &witness->keys};
    return CLI_OK;
}

static void end_witness(struct witness *witness)
{
    source_close(&witness->source);
    intake_destroy(&witness->intake);
    ledger_close(&witness->ledger);
    logformat_free(&witness->format);
}

/* --- the database --- */

static void say_clock(struct witness *witness)
{
    if (!witness->clock_off)
        cli_fail("this host's clock and the database's are more than %d s apart: nothing counts as watched",
                 INTAKE_CLOCK_OFF_S);
    witness->clock_off = true;
    intake_gap(witness->intake, "the clock is off");
}

static enum tell_status say_hello(struct cli *cli, struct witness *witness, int64_t now_ms)
{
    enum tell_status status;

    if (cli->db == NULL && cli_open(cli) != CLI_OK)
        return TELL_DATABASE;
    witness->tell.db = cli->db;
    if (now_ms < witness->hello_ms)
        return TELL_OK;
    status = tell_hello(&witness->tell, witness->intake);
    if (status == TELL_CLOCK)
        say_clock(witness);
    else if (status == TELL_OK)
        witness->clock_off = false;
    if (status == TELL_OK)
        witness->hello_ms = now_ms + HELLO_MS;
    return status;
}

/* Tell what there is to tell.  CLI_OK also when the database is away: it is tried again. */
static int tell_now(struct cli *cli, struct witness *witness, enum tell_status *told)
{
    int64_t now_ms = clock_monotonic_ms();

    *told = say_hello(cli, witness, now_ms);
    if (*told == TELL_OK)
        *told = tell_all(&witness->tell, intake_until_us(witness->intake));
    if (*told == TELL_LEDGER)
        return cli_fail("%s", ledger_why(witness->ledger));
    if (*told == TELL_DATABASE) {
        if (!witness->database_away && cli->db != NULL)
            cli_fail("%s; the log is read on", db_why(cli->db));
        db_close(&cli->db);
        witness->hello_ms = 0;
    }
    witness->database_away = *told == TELL_DATABASE;
    witness->tell_ms = clock_monotonic_ms() + (*told == TELL_OK ? TELL_MS : AGAIN_MS);
    return CLI_OK;
}

/* --- reading --- */

static int keep_place(struct witness *witness)
{
    char *name = log_name(witness);
    struct ledger_place place;
    bool ok;

    source_place(witness->source, &place);
    place.stamp_us = intake_until_us(witness->intake);
    ok = ledger_set_place(witness->ledger, name, &place) && ledger_commit(witness->ledger);
    free(name);
    return ok ? CLI_OK : cli_fail("%s", ledger_why(witness->ledger));
}

static void say_gap(struct witness *witness)
{
    const char *why = intake_counts(witness->intake)->last_gap;

    if (why != NULL && why != witness->said_gap)
        cli_fail("not watched for a while: %s", why);
    witness->said_gap = why;
}

/* Read what there is, or a step of it; *GOT is what came last. */
static int read_step(struct witness *witness, enum source_got *got)
{
    char why[SOURCE_WHY_SIZE];
    int64_t now_ms = clock_monotonic_ms(), now_us = clock_realtime_us(), written = source_written_us(witness->source);
    /* What comes within two rounds after all was read was written just now. */
    bool fresh = witness->follow && witness->caught_up_ms != 0 && now_ms - witness->caught_up_ms < 4 * POLL_MS;
    int64_t reference_us = written != 0 && !witness->follow ? written : now_us;
    bool ok = ledger_begin(witness->ledger);

    for (int i = 0; ok && (i < STEP_ENTRIES || clock_monotonic_ms() - now_ms < STEP_MS); i++) {
        struct source_entry entry;

        *got = source_next(witness->source, &entry, now_ms, why);
        if (*got == SOURCE_ENTRY)
            ok = intake_entry(witness->intake, &entry, now_us, reference_us, fresh);
        else if (*got == SOURCE_GAP)
            intake_gap(witness->intake, "a piece of the log is missing or unreadable");
        else
            break;
    }
    if (!ok)
        return cli_fail("%s", ledger_why(witness->ledger));
    if (*got == SOURCE_FAILED)
        return cli_fail("%s", why);
    if (*got == SOURCE_NOTHING)
        witness->caught_up_ms = clock_monotonic_ms();
    say_gap(witness);
    return keep_place(witness);
}

static int forget(struct witness *witness)
{
    bool lost;

    witness->forget_ms = clock_monotonic_ms() + FORGET_MS;
    if (!ledger_begin(witness->ledger) || !ledger_forget(witness->ledger, clock_realtime_us(), &lost) ||
        !ledger_commit(witness->ledger))
        return cli_fail("%s", ledger_why(witness->ledger));
    if (lost)
        intake_gap(witness->intake, "too many letters wait for their recipients to be named");
    return CLI_OK;
}

/* True when it is to end. */
static bool wait_for_more(const struct cli *cli, const struct witness *witness)
{
    struct pollfd fds[] = {{.fd = cli->stop_fd, .events = POLLIN},
                           {.fd = source_fd(witness->source), .events = POLLIN}};

    poll(fds, 2, POLL_MS);
    return fds[0].revents != 0;
}

static int run_loop(struct cli *cli, struct witness *witness)
{
    enum source_got got = SOURCE_ENTRY;
    enum tell_status told = TELL_OK;
    int status = CLI_OK;
    bool stopped = false;

    /* Before the first line is read it must be known which addresses are the sensors'. */
    told = say_hello(cli, witness, clock_monotonic_ms());
    if (told == TELL_DATABASE)
        return cli_db_fail(cli, witness->tell.database);
    while (status == CLI_OK && got != SOURCE_END && !stopped) {
        status = read_step(witness, &got);
        if (status == CLI_OK && clock_monotonic_ms() >= witness->forget_ms)
            status = forget(witness);
        if (status == CLI_OK && got != SOURCE_END && clock_monotonic_ms() >= witness->tell_ms)
            status = tell_now(cli, witness, &told);
        stopped = got == SOURCE_NOTHING ? wait_for_more(cli, witness) : cli_stopped_within(cli, 0);
    }
    if (status == CLI_OK && got == SOURCE_END) {
        status = tell_now(cli, witness, &told);
        if (status == CLI_OK && told != TELL_OK)
            status = cli_fail("all was read, but the database was not told; run it again");
    }
    return status;
}

/* --- trying a format --- */

static void print_text(const char *name, const struct logformat_text *text)
{
    char printable[1024];

    if (text->text == NULL || text->length == 0)
        return;
    text_printable(printable, sizeof printable, text->text, text->length);
    printf(" %s=%s", name, printable);
}

static void print_entry(const struct logformat_entry *entry)
{
    static const char *const words[] = {
        [LOGFORMAT_NONE] = "-",
#define X(identifier, word, needs) [LOGFORMAT_##identifier] = (word),
        LOGFORMAT_EVENT_TABLE(X)
#undef X
    };
    time_t seconds = (time_t)(entry->stamp.time_us / CLOCK_SECOND_US);
    char when[32], client[IPADDR_TEXT_SIZE];
    struct tm utc;

    gmtime_r(&seconds, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    printf("%s %s", when, words[entry->event]);
    print_text("id", &entry->id);
    if (entry->client.family != 0)
        printf(" client=%s", ipaddr_format(&entry->client, client));
    print_text("from", &entry->from);
    for (size_t i = 0; i < entry->to_count; i++)
        print_text("to", &entry->to[i]);
    if (entry->event == LOGFORMAT_NONE)
        print_text("message", &entry->message);
    putchar('\n');
}

/* What each line of the log says, for whoever writes a format. */
static int try_format(const struct cli *cli, struct witness *witness)
{
    char why[SOURCE_WHY_SIZE];
    int64_t written = source_written_us(witness->source), now_us = clock_realtime_us();
    struct source_entry from;
    enum source_got got;

    while ((got = source_next(witness->source, &from, clock_monotonic_ms(), why)) != SOURCE_END && !cli_output_failed()) {
        struct logformat_entry entry = {.stamp = {.time_us = from.time_us}};

        if (got == SOURCE_FAILED)
            return cli_fail("%s", why);
        if (got == SOURCE_NOTHING && wait_for_more(cli, witness))
            return CLI_OK;
        if (got == SOURCE_NOTHING)
            continue;
        if (got == SOURCE_ENTRY && from.program != NULL)
            logformat_message(witness->format, from.program, from.text, &entry);
        else if (got == SOURCE_GAP || !logformat_line(witness->format, from.text, written != 0 ? written : now_us, &entry)) {
            puts("unreadable");
            continue;
        }
        entry.client = ipaddr_client(&entry.client, witness->nat64_prefixes, witness->nat64_texts.count);
        print_entry(&entry);
    }
    return CLI_OK;
}

/* --- commands --- */

static int start(struct cli *cli, struct witness *witness)
{
    int status = read_prefixes(witness);

    if (status == CLI_OK)
        status = read_logformat(witness);
    if (status == CLI_OK)
        status = cli_stop_on_signals(cli);
    if (status == CLI_OK && witness->trying)
        return (status = open_source(witness)) == CLI_OK ? try_format(cli, witness) : status;
    if (status != CLI_OK || (status = read_keys(witness)) != CLI_OK || (status = open_ledger(witness)) != CLI_OK ||
        (status = open_source(witness)) != CLI_OK || (status = open_intake(witness)) != CLI_OK ||
        (status = cli_open(cli)) != CLI_OK)
        return status;
    return run_loop(cli, witness);
}

static int run_witness(struct cli *cli, int argc, char **argv)
{
    struct witness witness = {.format_name = "postfix", .match = "envelope", .key_path = ENVELOPE_KEY_FILE,
                              .folder = STATE_FOLDER, .quiet = "30m"};
    const struct cli_option options[] = {
        {.name = "format", .argument = "FORMAT", .help = "postfix (default), sendmail, exim, opensmtpd or a file",
         .text = &witness.format_name},
        {.name = "host", .argument = "MXNAME", .help = "whose log it is: the name in the MX record", .text = &witness.mx},
        {.name = "name", .argument = "MACHINE", .help = "which machine behind that name (default: this one's name)",
         .text = &witness.machine},
        {.name = "timezone", .argument = "TZ", .help = "of stamps without one (default: this host's)", .text = &witness.zone},
        {.name = "follow", .letter = 'f', .help = "go on with what is appended, through rotations", .flag = &witness.follow},
        {.name = "journal", .help = "read the journal instead of a file", .flag = &witness.journal},
        {.name = "match", .argument = "HOW", .help = "envelope (default), or sender: recipients are rewritten before the log",
         .text = &witness.match},
        {.name = "refusal", .argument = "TEXT", .help = "a refusal with TEXT in it is because of the list",
         .texts = &witness.refusals},
        {.name = "nat64-prefix", .argument = "PREFIX", .help = "addresses in it hold IPv4 ones, as in the sensors' nat64_prefixes",
         .texts = &witness.nat64_texts},
        {.name = "quiet", .argument = "DURATION", .help = "a log silent for longer was not watched (default 30m)",
         .text = &witness.quiet},
        {.name = "key", .argument = "FILE", .help = "the key (default " ENVELOPE_KEY_FILE ")", .text = &witness.key_path},
        {.name = "state", .argument = "FOLDER", .help = "where to remember (default " STATE_FOLDER ")",
         .text = &witness.folder},
        {.name = "try", .help = "print what each line says, and do nothing else", .flag = &witness.trying},
        {.name = NULL},
    };
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = check_options(&witness, argc, argv, first)) != CLI_OK)
        return status;
    status = start(cli, &witness);
    end_witness(&witness);
    return status;
}

static int run_witness_key(struct cli *cli, int argc, char **argv)
{
    bool renew = false, missing, ok;
    const char *path = ENVELOPE_KEY_FILE;
    const struct cli_option options[] = {
        {.name = "new", .help = "draw a key; older ones stay readable", .flag = &renew},
        {.name = "key", .argument = "FILE", .help = "the file (default " ENVELOPE_KEY_FILE ")", .text = &path},
        {.name = NULL},
    };
    struct envelope_keys keys;
    char why[ENVELOPE_WHY_SIZE];
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if (renew && strcmp(path, ENVELOPE_KEY_FILE) == 0 && mkdir(HP_SYSCONFDIR "/hunnypot", 0755) != 0 && errno != EEXIST)
        return cli_fail("%s: %s", HP_SYSCONFDIR "/hunnypot", strerror(errno));
    ok = renew ? envelope_keys_renew(path, "hunnypot", &keys, why) : envelope_keys_read(path, &keys, &missing, why);
    if (!ok)
        return cli_fail("%s", why);
    for (size_t i = 0; i < keys.count; i++)
        puts(keys.keys[i].id);
    return CLI_OK;
}

static int run_witness_list(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if ((status = output_format_parse(format_name, &format)) != CLI_OK || (status = cli_open(cli)) != CLI_OK)
        return status;
    return output_query(cli, format, "SELECT * FROM hunnypot.witness_list()");
}

static int run_witness_remove(struct cli *cli, int argc, char **argv)
{
    const struct cli_option options[] = {{.name = NULL}};
    int status, first = cli_options(cli, argc, argv, options, &status);
    struct db_result *result = NULL;
    char mx[DOMAIN_MAX + 1];
    enum db_status asked;

    if (first < 0)
        return status;
    if (argc - first != 2)
        return cli_usage("takes the MX name and the machine");
    if (!domain_normalize(argv[first], mx))
        return cli_usage("%s is no host name", argv[first]);
    if ((status = cli_open(cli)) != CLI_OK)
        return status;
    asked = db_query_texts(cli->db, CLI_TIMEOUT_MS, "SELECT hunnypot.witness_remove($1, $2)",
                           (const char *const[]){mx, argv[first + 1]}, 2, &result);
    if (asked != DB_OK)
        return cli_db_fail(cli, asked);
    if (strcmp(db_value(result, 0, 0), "t") != 0)
        status = cli_fail("there is no witness %s of %s", argv[first + 1], mx);
    db_result_free(&result);
    return status;
}

const struct cli_command witness_commands[] = {
    {.name = "witness key", .arguments = "", .help = "Show the identifiers of the keys of envelopes, or draw one",
     .run = run_witness_key},
    {.name = "witness list", .arguments = "", .help = "Show the witnesses, and since when they watch", .run = run_witness_list},
    {.name = "witness remove", .arguments = "MXNAME MACHINE", .help = "A machine is no primary any more",
     .run = run_witness_remove},
    {.name = "witness", .arguments = "LOG", .help = "Read a primary's mail log, for letters that arrived", .run = run_witness},
    {.name = NULL},
};
