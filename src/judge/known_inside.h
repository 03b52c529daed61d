/* known_inside.h - what the parts of judge/known share: nobody else includes this.
 *
 * known.c is its life and memory, known_ask.c answers questions and puts on the agenda what they need, known_work.c is the
 * workers, who take it from there, and what is due though nobody asks.
 *
 * Threads:  the mutex of struct known is held by whoever calls what says so, and is not given up there.
 */
#ifndef JUDGE_KNOWN_INSIDE_H
#define JUDGE_KNOWN_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/ipaddr.h"
#include "judge/agenda.h"
#include "judge/answers.h"
#include "judge/domains.h"
#include "judge/known.h"
#include "judge/liveness.h"
#include "judge/reached.h"
#include "settings/settings.h"

enum {
    KNOWN_REFRESH_MIN_MS = 60000, /* nobody waits for a look-up that keeps a domain fresh */
    KNOWN_EGRESS_KEPT = 8         /* more than the primaries of one domain are likely to push out */
};

/* What an entry of the agenda stands for. */
enum { KNOWN_DUE_DOMAIN, KNOWN_DUE_ADDRESS, KNOWN_DUE_NAME, KNOWN_DUE_FRIEND, KNOWN_DUE_EGRESS };

/* Has any probe ever come through?  Under the mutex. */
struct egress {
    bool proven;
    unsigned failures;
    bool several;
    struct ipaddr first;
    struct answered {
        struct ipaddr address; /* family 0: none */
        int64_t began_ms;      /* of the probe */
    } answered[2][KNOWN_EGRESS_KEPT]; /* IPv4, IPv6: the last that answered */
};

struct known {
    pthread_mutex_t mutex; /* covers all up to `stop` */
    pthread_cond_t news;   /* `generation` moved */
    pthread_cond_t work;   /* the agenda changed, or it is time to stop */
    uint64_t told;         /* entries of the agendas that workers were told of */
    uint64_t generation;
    struct clock_moment looked; /* when known_time_look() was called last */
    const struct settings *settings;
    struct agenda agenda;
    struct agenda clients_due; /* what DNS says of clients, of whom a burst may bring any number: they come last */
    unsigned asking_clients;   /* workers that look one up */
    struct domains *domains;
    struct liveness *liveness;
    struct answers *names, *friends;
    int64_t zone_rests_ms[SETTINGS_ZONE_MAX]; /* a list that did not answer is not asked before */
    struct egress egress;
    struct reached reached;
    struct agenda_entry egress_entry;
    int64_t no_role_hour_ms;
    unsigned no_role_lines;
    void (*keep)(void *context, const char *text);
    void *keep_context;
    bool keeping, keep_again;

    atomic_bool stop;
    int stop_fd;  /* readable when `stop` is true */
    int ended_fd; /* counts the workers that have ended */
    int64_t created_ms;
    pthread_t *workers;
    size_t worker_count;
    _Atomic int64_t blocked_logged_ms, zone_logged_ms;
};

/* Now, on the clock that goes on in a suspend (boot_ms).  When the real time disagrees with it since the last call, what is
 * remembered is forgotten or aged.  The mutex is held. */
int64_t known_time_look(struct known *known);

/* Tell a worker when something was put on the agenda since the last time; whoever takes it tells the next one.  The mutex is held. */
void known_work_tell(struct known *known);

/* Something became known: wake known_wait().  The mutex is held. */
void known_news_tell(struct known *known);

/* Put what DOMAIN is kept for on the agenda, or find that it is not to be kept.  The mutex is held. */
void known_plan_domain(struct known *known, struct domain *domain, int64_t now_ms);

/* Have the egress hosts of the settings asked at DUE_MS (boot_ms), as long as somebody wants to know.  The mutex is held. */
void known_plan_egress(struct known *known, int64_t due_ms);

/* Start WANTED workers.  Returns 0 or an error number; what was started is counted in any case. */
int known_probers_start(struct known *known, unsigned wanted);

/* Wait for the workers, after `stop`; false when one does not end in time, since a look-up cannot be broken off. */
bool known_probers_end(struct known *known);

#endif
