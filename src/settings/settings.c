#include "settings/settings.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "settings/table.h"

const struct settings *settings_hold(const struct settings *settings)
{
    if (settings->snapshot != NULL) {
        unsigned holders = atomic_fetch_add(&settings->snapshot->holders, 1);

        assert(holders > 0); /* otherwise it is freed already */
        (void)holders;
    }
    return settings;
}

bool settings_accept_in_outage(const struct settings_judge *settings)
{
    for (size_t i = 0; i < settings->rule_count; i++)
        if (settings->rules[i].on_outage == ON_OUTAGE_ACCEPT)
            return true;
    return false;
}

const char *settings_socket_path(const char *socket)
{
    if (strncmp(socket, "unix:", 5) == 0)
        return socket + 5;
    if (strncmp(socket, "local:", 6) == 0)
        return socket + 6;
    return *socket == '/' ? socket : NULL;
}

const char *settings_socket_tail(const char *socket)
{
    const char *last = strrchr(socket, '/'), *tail = last;

    while (tail != NULL && tail > socket && tail[-1] != '/')
        tail--;
    return last != NULL ? tail : socket;
}

bool settings_may_take(const struct settings *settings)
{
    for (size_t i = 0; i < settings->judge.rule_count; i++)
        if (settings->judge.rules[i].role == ROLE_OFF)
            return true;
    return settings_accept_in_outage(&settings->judge);
}

static void free_list(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

static void free_snapshot(struct settings_snapshot *snapshot)
{
    struct settings *settings = &snapshot->settings;

    for (size_t i = 0; i < settings_row_count; i++) {
        free_list(snapshot->values[i].texts, snapshot->values[i].count);
        if (settings_rows[i].type == TYPE_TEXT)
            free(*(char **)((char *)settings + settings_rows[i].offset));
    }
    free(snapshot->values);
    free_list(settings->session.exempt_localparts, settings->session.exempt_localpart_count);
    free_list(settings->judge.own_names, settings->judge.own_name_count);
    free(settings->judge.own_addresses);
    free(settings->judge.rules);
    free(settings->judge.nat64_prefixes);
    free(settings->judge.ignored);
    free(settings->judge.probe_allowed);
    free(settings->judge.egress_hosts);
    for (size_t i = 0; i < settings->judge.friend_zone_count; i++)
        free(settings->judge.friend_zones[i]);
    free(snapshot);
}

void settings_release(const struct settings *settings)
{
    if (settings != NULL && settings->snapshot != NULL && atomic_fetch_sub(&settings->snapshot->holders, 1) == 1)
        free_snapshot(settings->snapshot);
}

static bool values_equal(const struct settings_values *a, const struct settings_values *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->texts[i], b->texts[i]) != 0)
            return false;
    return true;
}

void settings_report_fixed(const struct settings *started_with, const struct settings *loaded,
                           void (*report)(void *context, const char *line), void *context)
{
    for (size_t i = 0; i < settings_row_count; i++)
        if (settings_rows[i].fixed &&
            !values_equal(&started_with->snapshot->values[i], &loaded->snapshot->values[i])) {
            char *title = settings_row_title(&settings_rows[i]);

            report(context, title);
            free(title);
        }
}
