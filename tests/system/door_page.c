/* door_page.c - what hunnypot-web does at the door, without the web, for test_door.py.
 *
 *     door_page CONNINFO [TIMES]
 *
 * Reads visits from standard input, each of six texts that end with a NUL: get or post, html or json, an Accept-Language header,
 * the address asked for, who asks ("": not sure), the token.  Writes for each the HTTP status, the length of the body, a line end
 * and the body; with TIMES, makes the first one so many times and writes how often that was in a second.
 */
#include "report/door.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"

enum { FIELDS = 6, TEXT_MAX = 65536 };

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool read_fields(char fields[FIELDS][TEXT_MAX])
{
    for (size_t i = 0; i < FIELDS; i++) {
        int got;
        size_t used = 0;

        while ((got = getchar()) != '\0') {
            if (got == EOF || used == TEXT_MAX - 1)
                return false;
            fields[i][used++] = (char)got;
        }
        fields[i][used] = '\0';
    }
    return true;
}

static void visit_once(struct db *db, char fields[FIELDS][TEXT_MAX], bool tell)
{
    struct door_visit visit = {.json = strcmp(fields[1], "json") == 0, .words = catalogue_choose(fields[2]), .address = fields[3],
                               .token = fields[5]};
    char *body = NULL;
    size_t length;
    FILE *out = alloc_text_begin(&body, &length);
    int http_status = 0;
    enum db_status status;

    visit.asker_is_sure = ipaddr_parse(fields[4], &visit.asker);
    status = strcmp(fields[0], "post") == 0 ? door_ask_removal(db, &visit, out, &http_status)
                                            : door_look_up(db, &visit, out, &http_status);
    alloc_text_end(out);
    if (status != DB_OK)
        fprintf(stderr, "%s\n", db_why(db));
    if (tell) {
        printf("%d %zu\n", http_status, length);
        fwrite(body, 1, length, stdout);
        fflush(stdout);
    }
    free(body);
}

int main(int argc, char **argv)
{
    static char fields[FIELDS][TEXT_MAX];
    long times = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    struct db *db = NULL;

    if (argc < 2)
        return 64;
    if (db_connect(&db, argv[1], "door", DOOR_TIMEOUT_MS, -1) != DB_OK)
        fprintf(stderr, "%s\n", db_why(db));
    while (read_fields(fields)) {
        double began_s = now_s();

        for (long i = 0; i < times; i++)
            visit_once(db, fields, false);
        if (times > 0)
            printf("%.0f\n", (double)times / (now_s() - began_s));
        else
            visit_once(db, fields, true);
    }
    db_close(&db);
    return 0;
}
