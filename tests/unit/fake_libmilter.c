#include "fake_libmilter.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct smfiDesc fake_libmilter;

int smfi_register(struct smfiDesc description)
{
    fake_libmilter = description;
    return MI_SUCCESS;
}

int smfi_setpriv(SMFICTX *ctx, void *priv)
{
    ctx->priv = priv;
    return MI_SUCCESS;
}

void *smfi_getpriv(SMFICTX *ctx)
{
    return ctx->priv;
}

char *smfi_getsymval(SMFICTX *ctx, char *name)
{
    for (int i = 0; i < FAKE_MACROS_MAX && ctx->macros[i].name != NULL; i++)
        if (strcmp(ctx->macros[i].name, name) == 0)
            return (char *)ctx->macros[i].value;
    return NULL;
}

int smfi_setsymlist(SMFICTX *ctx, int where, char *names)
{
    ctx->asked[where] = names;
    return MI_SUCCESS;
}

int smfi_setmlreply(SMFICTX *ctx, const char *code, const char *enhanced, ...)
{
    int used = snprintf(ctx->reply, sizeof ctx->reply, "%s %s", code, enhanced);
    const char *line, *between = " ";
    va_list lines;

    va_start(lines, enhanced);
    while ((line = va_arg(lines, const char *)) != NULL) {
        used += snprintf(ctx->reply + used, sizeof ctx->reply - (size_t)used, "%s%s", between, line);
        between = "|";
    }
    va_end(lines);
    return MI_SUCCESS;
}

/* No session comes by a socket here, but milter/prime asks milter/server for its address, and that one links these. */
int smfi_setconn(char *connection)
{
    (void)connection;
    return MI_FAILURE;
}

int smfi_opensocket(bool remove)
{
    (void)remove;
    return MI_FAILURE;
}

int smfi_main(void)
{
    return MI_FAILURE;
}
