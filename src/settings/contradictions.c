/* contradictions.c - rows that cannot both be meant. */
#include <string.h>

#include "settings/table.h"

static bool gives_up_before_probe(const struct settings *settings)
{
    return settings->verdict_timeout_ms < settings->judge.probe_timeout_ms;
}

static bool gives_up_before_next_probe(const struct settings *settings)
{
    const struct settings_judge *judge = &settings->judge;

    return !gives_up_before_probe(settings) &&
           settings->verdict_timeout_ms < judge->probe_interval_ms + judge->probe_timeout_ms;
}

static bool forgets_before_probe(const struct settings *settings)
{
    return settings->judge.remember_ms < settings->judge.probe_timeout_ms;
}

static bool client_may_more_than_all(const struct settings *settings)
{
    const struct settings_session *session = &settings->session;

    return session->connections > 0 && session->connections_per_client > session->connections;
}

static bool spool_is_socket(const struct settings *settings)
{
    const char *path = strchr(settings->socket, '/');

    return path != NULL && strcmp(path, settings->spool) == 0;
}

static bool accepts_without_looking(const struct settings *settings)
{
    return settings->judge.fresh_ms == 0 && settings_accept_in_outage(&settings->judge);
}

const struct settings_contradiction settings_contradictions[] = {
    {{"liveness", "liveness"}, {"verdict_timeout", "probe_timeout"}, gives_up_before_probe,
     "a hit would be given up while its first probe may still be answered", false},
    {{"liveness", "liveness"}, {"verdict_timeout", "probe_interval"}, gives_up_before_next_probe,
     "a hit would be given up while the next probe that may be made for it may still be answered", false},
    {{"liveness", "liveness"}, {"remember", "probe_timeout"}, forgets_before_probe,
     "what a slow probe found out would be too old to be believed when it ends", false},
    {{"limits", "limits"}, {"connections_per_client", "connections"}, client_may_more_than_all,
     "one client could never have so many", true},
    {{NULL, NULL}, {"spool", "socket"}, spool_is_socket, "one file cannot be both", false},
    {{"domain", "liveness"}, {"on_outage", "fresh"}, accepts_without_looking,
     "an outage that nobody looks for is never sure", false},
    {{0}, {0}, NULL, NULL, false},
};
