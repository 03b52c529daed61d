#include "daemon/conduct.h"

enum session_conduct conduct_at_data(void *context, const struct settings *settings, const struct hit *hit)
{
    (void)context;
    (void)settings;
    (void)hit;
    return CONDUCT_DEFER;
}

/* What was decided at DATA is repeated: the MTA may have let a message through that was deferred there. */
enum session_conduct conduct_at_end(void *context, const struct settings *settings, const struct hit *hit,
                                    enum session_conduct decided)
{
    (void)context;
    (void)settings;
    (void)hit;
    return decided;
}
