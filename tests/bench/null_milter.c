/* null_milter: a libmilter milter that does nothing, to measure others against.
 *
 *     null_milter SOCKET [FILE]
 *
 * It asks for the same flags as hunnypot-milter (no reply to HELO, MAIL and, with no limits, to connect and RCPT; headers and
 * body not at all) and answers DATA with 451.  With FILE each DATA first appends 128 bytes to it and waits until they are on
 * disk; all that wait at one time share one fdatasync(): the least that any durable milter has to do.
 */
#include <fcntl.h>
#include <libmilter/mfapi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_BYTES = 128 };

static int fd = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned long long written, durable; /* records */
static bool is_syncing;

/* Whoever comes while nobody syncs does it for all that have written by then. */
static sfsistat data_durable(void)
{
    static const char record[RECORD_BYTES] = {1};
    unsigned long long mine;

    pthread_mutex_lock(&mutex);
    if (write(fd, record, sizeof record) != (ssize_t)sizeof record)
        abort();
    mine = ++written;
    while (durable < mine) {
        unsigned long long up_to = written;

        if (is_syncing) {
            pthread_cond_wait(&changed, &mutex);
            continue;
        }
        is_syncing = true;
        pthread_mutex_unlock(&mutex);
        if (fdatasync(fd) != 0)
            abort();
        pthread_mutex_lock(&mutex);
        is_syncing = false;
        durable = up_to;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&mutex);
    return SMFIS_TEMPFAIL;
}

static sfsistat on_connect(SMFICTX *ctx, char *name, _SOCK_ADDR *address)
{
    (void)ctx, (void)name, (void)address;
    return SMFIS_CONTINUE;
}

static sfsistat on_envelope(SMFICTX *ctx, char **arguments)
{
    (void)ctx, (void)arguments;
    return SMFIS_CONTINUE;
}

static sfsistat on_text(SMFICTX *ctx, char *text)
{
    (void)ctx, (void)text;
    return SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx)
{
    smfi_setreply(ctx, (char *)"451", (char *)"4.7.1", (char *)"This host takes no mail");
    return fd >= 0 ? data_durable() : SMFIS_TEMPFAIL;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
                             unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
    (void)ctx, (void)f0, (void)f2, (void)f3;
    *pf0 = 0;
    *pf1 = f1 & (SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY | SMFIP_NOUNKNOWN | SMFIP_NR_HELO | SMFIP_NR_MAIL);
    if (getenv("NULL_MILTER_ANSWERS") == NULL)
        *pf1 |= f1 & (SMFIP_NR_CONN | SMFIP_NR_RCPT);
    else
        *pf1 &= ~(unsigned long)(SMFIP_NR_HELO | SMFIP_NR_MAIL);
    *pf2 = *pf3 = 0;
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    struct smfiDesc description = {
        .xxfi_name = (char *)"null",
        .xxfi_version = SMFI_VERSION,
        .xxfi_connect = on_connect,
        .xxfi_helo = on_text,
        .xxfi_envfrom = on_envelope,
        .xxfi_envrcpt = on_envelope,
        .xxfi_data = on_data,
        .xxfi_negotiate = on_negotiate,
    };

    if (argc < 2 || (argc > 2 && (fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)) {
        fputs("usage: null_milter SOCKET [FILE]\n", stderr);
        return EXIT_FAILURE;
    }
    if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(description) != MI_SUCCESS)
        return EXIT_FAILURE;
    return smfi_main() == MI_SUCCESS ? EXIT_SUCCESS : EXIT_FAILURE;
}
