/* judge_lines: the daemon's own judge, driven by lines, on virtual time.
 *
 * The simulation (tests/simulation) says what the world is like and which transactions come; the judge that is built
 * into the daemon looks it up, probes, remembers, and says what each of them was.  DNS (judge/mx.h), probes
 * (judge/probe.h) and the clock (base/clock.h) are fakes that answer what the lines said last.
 *
 * A line on standard input; each is answered with "ok" on a line of its own, after what happened meanwhile:
 *     clock MS                  the time moves on to MS (milliseconds since 1970)
 *     dns NAME TEXT             NAME's mail hosts are TEXT (tests/unit/mx_text.h) from now on
 *     host ADDRESS STATE        a probe of ADDRESS finds STATE (down, accepting, deferring, unknown)
 *     start                     the daemon starts (again), and recalls what it knew of outages
 *     prefetch DOMAIN LOCAL     as at RCPT
 *     ask NUMBER CLIENT LOCAL SENDER RECIPIENT...   a transaction has reached DATA; paths are in angle brackets
 * What happens:
 *     probe ADDRESS STATE MS                                            the judge probed
 *     verdict NUMBER VERDICT CLASS DOMAIN PRIMARY AGE_MS MS KEY WHOLE HASHES WHY   of a question, when it fell ("-": none)
 * The argument is a settings file.  A line that is not understood ends the program with status 1.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "fake_clock.h"
#include "judge/judge.h"
#include "judge/liveness.h"
#include "milter/envelope.h"
#include "mx_text.h"
#include "settings/settings.h"
#include "virtual_time.h"

/* What a name or an address is at this moment. */
struct fact {
    UT_hash_handle hh;
    char *text;
    enum liveness_state state;
    char key[];
};

/* A transaction that has no verdict yet, in the order of coming. */
struct question {
    struct question *next;
    long long number;
    int64_t deadline_ms;
    struct hit hit;
    struct judge_question question; /* its domains are the hit's */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* covers the facts, and standard output */
static struct fact *names, *addresses;
static const struct settings *settings;
static struct judge *judge;
static char *kept;
static struct question *questions;

static void __attribute__((noreturn)) refuse(const char *line)
{
    fprintf(stderr, "judge_lines: not understood: %s\n", line);
    exit(EXIT_FAILURE);
}

static struct fact *fact_find_or_add(struct fact **facts, const char *key)
{
    struct fact *fact;

    HASH_FIND_STR(*facts, key, fact);
    if (fact == NULL) {
        fact = alloc_zeroed(1, sizeof *fact + strlen(key) + 1);
        strcpy(fact->key, key);
        fact->state = LIVENESS_ACCEPTING;
        HASH_ADD_STR(*facts, key, fact);
    }
    return fact;
}

void mx_resolve(const struct settings_dns *config, const char *domain, const atomic_bool *stop, struct mx_answer *answer)
{
    const struct fact *fact;

    (void)config;
    (void)stop;
    pthread_mutex_lock(&mutex);
    HASH_FIND_STR(names, domain, fact);
    *answer = mx_from_text(fact != NULL ? fact->text : "nxdomain");
    pthread_mutex_unlock(&mutex);
}

/* Who has a name is the simulation's to know. */
void mx_names_resolve(const struct settings_dns *config, const struct ipaddr *address, const atomic_bool *stop,
                      struct mx_names *found)
{
    (void)config;
    (void)address;
    (void)stop;
    *found = (struct mx_names){.status = MX_OK};
}

enum friend_state mx_listed(const struct settings_dns *config, const char *zone, const struct ipaddr *address,
                            const atomic_bool *stop)
{
    (void)config;
    (void)zone;
    (void)address;
    (void)stop;
    return FRIEND_NO;
}

enum liveness_state probe_address(const struct probe_config *config, const struct ipaddr *address, struct ipaddr *source)
{
    char text[IPADDR_TEXT_SIZE];
    enum liveness_state state;
    const struct fact *fact;

    (void)config;
    *source = (struct ipaddr){.family = 0};
    pthread_mutex_lock(&mutex);
    fact = fact_find_or_add(&addresses, ipaddr_format(address, text));
    state = fact->state;
    printf("probe %s %s %lld\n", fact->key, liveness_state_name(state), (long long)clock_monotonic_ms());
    pthread_mutex_unlock(&mutex);
    return state;
}

static void take_name(const char *name, const char *text)
{
    struct fact *fact = fact_find_or_add(&names, name);

    free(fact->text);
    fact->text = alloc_text(text);
}

static void take_host(const char *address, const char *state)
{
    for (unsigned i = LIVENESS_UNKNOWN; i <= LIVENESS_DEFERRING; i++) {
        if (strcmp(liveness_state_name((enum liveness_state)i), state) == 0) {
            fact_find_or_add(&addresses, address)->state = (enum liveness_state)i;
            return;
        }
    }
    refuse(state);
}

/* The next word; there has to be one. */
static char *word_take(char **words)
{
    char *word = strtok_r(*words, " ", words);

    if (word == NULL)
        refuse("too few words");
    return word;
}

static void question_free(struct question *question)
{
    hit_clear(&question->hit);
    free(question);
}

static void hashes_print(const struct hit *hit)
{
    const uint8_t *bytes = (const uint8_t *)hit->hashes;

    printf("%s %d ", hit->key_id[0] != '\0' ? hit->key_id : "-", hit->hashes_whole);
    for (size_t i = 0; i < hit->hash_count * sizeof *hit->hashes; i++)
        printf("%02x", bytes[i]);
    if (hit->hash_count == 0)
        putchar('-');
}

static void verdict_print(const struct question *question, const struct judge_answer *answer)
{
    flockfile(stdout); /* probers tell of probes meanwhile */
    printf("verdict %lld %s %s %s %s %lld %lld ", question->number, verdict_name(answer->verdict), class_name(answer->class),
           answer->domain[0] != '\0' ? answer->domain : "-", answer->primary[0] != '\0' ? answer->primary : "-",
           (long long)answer->primary_age_ms, (long long)clock_monotonic_ms());
    hashes_print(&question->hit);
    printf(" %s\n", answer->why);
    funlockfile(stdout);
}

/* What the judge wants to be kept over a restart, as daemon/outages does in a file.  One at a time. */
static void keep(void *context, const char *text)
{
    (void)context;
    free(kept);
    kept = alloc_text(text);
}

static void daemon_start(void)
{
    if (judge != NULL)
        judge_keep(judge);
    judge_destroy(&judge);
    judge = judge_create(settings, NULL);
    if (kept != NULL)
        judge_recall(judge, kept);
    judge_keep_with(judge, keep, NULL);
    virtual_time_settle();
}

static struct ipaddr address_of(const char *text)
{
    struct ipaddr address = {0};

    if (strcmp(text, "-") != 0 && !ipaddr_parse(text, &address))
        refuse(text);
    return address;
}

/* Ask again what waits, as daemon/judging does at each news, until verdict_timeout. */
static void questions_ask(void)
{
    for (struct question **link = &questions, *question; (question = *link) != NULL;) {
        struct judge_answer answer;

        question->question.final = clock_monotonic_ms() >= question->deadline_ms;
        judge_ask(judge, &question->question, &answer);
        if (answer.verdict == VERDICT_PENDING) {
            link = &question->next;
            continue;
        }
        *link = question->next;
        verdict_print(question, &answer);
        question_free(question);
    }
}

/* Until nothing becomes known any more at this moment. */
static void questions_settle(void)
{
    static uint64_t seen;
    uint64_t before;

    do {
        before = seen;
        virtual_time_settle();
        judge_wait(judge, &seen, clock_monotonic_ms());
        questions_ask();
    } while (seen != before);
}

static void time_advance(int64_t to_ms)
{
    for (;;) {
        int64_t next_ms = virtual_time_next();

        for (const struct question *question = questions; question != NULL; question = question->next) {
            if (question->deadline_ms < next_ms)
                next_ms = question->deadline_ms;
        }
        if (next_ms > to_ms)
            break;
        virtual_time_advance(next_ms);
        questions_settle();
    }
    virtual_time_advance(to_ms);
}

static void question_put(char *words)
{
    struct question *question = alloc_zeroed(1, sizeof *question), **link = &questions;
    char *path;

    question->number = strtoll(word_take(&words), NULL, 10);
    question->question.client = address_of(word_take(&words));
    question->question.local = address_of(word_take(&words));
    envelope_set_sender(&question->hit, word_take(&words), settings);
    while ((path = strtok_r(NULL, " ", &words)) != NULL)
        envelope_add_recipient(&question->hit, path, settings);
    question->question.exempt = question->hit.exempt;
    question->question.domains = (const char *const *)question->hit.domains;
    question->question.domain_count = question->hit.domain_count;
    question->question.taken_ms = clock_now().boot_ms;
    question->deadline_ms = clock_monotonic_ms() + settings->verdict_timeout_ms;
    while (*link != NULL)
        link = &(*link)->next;
    *link = question;
    questions_settle();
}

static void clock_take(const char *to)
{
    if (judge == NULL)
        fake_clock_set_ms(strtoll(to, NULL, 10));
    else
        time_advance(strtoll(to, NULL, 10));
}

static void line_take(char *rest)
{
    const char *verb = word_take(&rest);

    if (strcmp(verb, "start") == 0) {
        daemon_start();
    } else if (strcmp(verb, "ask") == 0) {
        question_put(rest);
    } else if (strcmp(verb, "clock") == 0) {
        clock_take(word_take(&rest));
    } else if (strcmp(verb, "dns") == 0) {
        const char *name = word_take(&rest);

        take_name(name, rest);
    } else if (strcmp(verb, "host") == 0) {
        const char *address = word_take(&rest);

        take_host(address, rest);
    } else if (strcmp(verb, "prefetch") == 0) {
        const char *domain = word_take(&rest);
        const struct ipaddr local = address_of(rest);

        judge_prefetch(judge, domain, &local, NULL);
    } else {
        refuse(verb);
    }
    puts("ok");
}

static void complain(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "judge_lines: %s\n", line);
}

static void facts_free(struct fact **facts)
{
    struct fact *fact, *next;

    HASH_ITER(hh, *facts, fact, next) {
        HASH_DEL(*facts, fact); /* NOLINT(clang-analyzer-unix.Malloc): the one before has left */
        free(fact->text);
        free(fact);
    }
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0;

    if (argc != 2 || (settings = settings_load(argv[1], complain, NULL)) == NULL)
        return EXIT_FAILURE;
    log_set_level(settings->log_level);
    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        line_take(line);
        fflush(stdout);
    }
    free(line);
    while (questions != NULL) {
        struct question *question = questions;

        questions = question->next;
        question_free(question);
    }
    judge_destroy(&judge);
    free(kept);
    settings_release(settings);
    facts_free(&names);
    facts_free(&addresses);
    return EXIT_SUCCESS;
}
