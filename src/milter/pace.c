#include "milter/pace.h"

/* EHLO and MAIL come with the RCPT that follows them. */
enum { KEPT_BACK_COMMANDS = 3 };

void pace_begin(struct pace *pace, int64_t now_ms)
{
    *pace = (struct pace){.since_ms = now_ms};
}

bool pace_is_late(struct pace *pace, int64_t now_ms, int64_t idle_ms, bool seen_at_once)
{
    bool late;

    pace->commands++;
    if (!seen_at_once)
        return false;
    late = idle_ms > 0 && now_ms - pace->since_ms > idle_ms * pace->commands;
    pace_begin(pace, now_ms);
    return late;
}

int64_t pace_silent_until(int64_t now_ms, int64_t idle_ms, bool kept_back)
{
    return idle_ms == 0 ? 0 : now_ms + idle_ms * (kept_back ? KEPT_BACK_COMMANDS : 1);
}
