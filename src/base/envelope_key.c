#include "base/envelope_key.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"

enum { LINE_SIZE = 256, MODE = 0640 };

static const char head[] =
    "# The keys by which the sensors and witnesses of one Hunnypot database tell letters again (hunnypot-witness(8)).\n"
    "# Copy this file to each of their hosts, readable by the group hunnypot only.  The newest key comes first.\n";

static bool fail_with(char why[ENVELOPE_WHY_SIZE], const char *path, const char *reason)
{
    char printable[ENVELOPE_WHY_SIZE / 2];

    text_printable(printable, sizeof printable, path, strlen(path));
    snprintf(why, ENVELOPE_WHY_SIZE, "%s: %.200s", printable, reason);
    return false;
}

static bool parse_secret(const char *digits, struct envelope_key *key)
{
    if (strlen(digits) != sizeof key->secret * 2)
        return false;
    for (size_t i = 0; i < sizeof key->secret; i++) {
        unsigned value;

        if (!isxdigit((unsigned char)digits[2 * i]) || !isxdigit((unsigned char)digits[2 * i + 1]) ||
            /* NOLINTNEXTLINE(cert-err34-c): two digits, looked at above */
            sscanf(digits + 2 * i, "%2x", &value) != 1)
            return false;
        key->secret[i] = (uint8_t)value;
    }
    envelope_key_identify(key);
    return true;
}

/* LINE without its end.  NULL when it is fine, else what is wrong. */
static const char *take_line(char *line, struct envelope_keys *keys)
{
    char *rest = NULL, *word;

    line[strcspn(line, "#")] = '\0';
    word = strtok_r(line, " \t\r", &rest);
    if (word == NULL)
        return NULL;
    if (strcmp(word, "key") != 0)
        return "the line does not begin with \"key\"";
    if (keys->count == ENVELOPE_KEYS_MAX)
        return "more keys than 4";
    word = strtok_r(NULL, " \t\r", &rest);
    if (word == NULL || strtok_r(NULL, " \t\r", &rest) != NULL || !parse_secret(word, &keys->keys[keys->count]))
        return "a key is 64 hexadecimal digits";
    keys->count++;
    return NULL;
}

static bool read_lines(FILE *file, const char *path, struct envelope_keys *keys, char why[ENVELOPE_WHY_SIZE])
{
    char line[LINE_SIZE];

    for (unsigned number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        size_t length = strlen(line);
        const char *wrong = NULL;

        if (length > 0 && line[length - 1] == '\n')
            line[length - 1] = '\0';
        else if (length == sizeof line - 1)
            wrong = "the line is too long";
        if (wrong == NULL)
            wrong = take_line(line, keys);
        if (wrong != NULL) {
            char where[ENVELOPE_WHY_SIZE / 2];

            snprintf(where, sizeof where, "line %u: %s", number, wrong);
            return fail_with(why, path, where);
        }
    }
    if (ferror(file))
        return fail_with(why, path, strerror(errno));
    return keys->count > 0 || fail_with(why, path, "there is no key in it");
}

bool envelope_keys_read(const char *path, struct envelope_keys *keys, bool *missing, char why[ENVELOPE_WHY_SIZE])
{
    FILE *file = fopen(path, "re");
    struct stat about;
    bool ok;

    *keys = (struct envelope_keys){.count = 0};
    *missing = file == NULL && errno == ENOENT;
    if (file == NULL)
        return fail_with(why, path, strerror(errno));
    if (fstat(fileno(file), &about) != 0)
        ok = fail_with(why, path, strerror(errno));
    else if ((about.st_mode & S_IRWXO) != 0)
        ok = fail_with(why, path, "everybody on this host may read it; chmod 0640");
    else
        ok = read_lines(file, path, keys, why);
    fclose(file);
    return ok;
}

static bool write_keys(int fd, const struct envelope_keys *keys)
{
    bool ok = dprintf(fd, "%s", head) > 0;

    for (size_t i = 0; i < keys->count && ok; i++) {
        char digits[ENVELOPE_SECRET_BYTES * 2 + 1];

        for (size_t j = 0; j < ENVELOPE_SECRET_BYTES; j++)
            snprintf(digits + 2 * j, 3, "%02x", keys->keys[i].secret[j]);
        ok = dprintf(fd, "# %s\nkey %s\n", keys->keys[i].id, digits) > 0;
    }
    return ok && fsync(fd) == 0;
}

static bool folder_sync(const char *path)
{
    char *copy = alloc_text(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    free(copy);
    return ok;
}

/* Mode and group are right before there is a byte in it.  A host without the group keeps its own. */
static bool write_file(const char *path, const char *group, const struct envelope_keys *keys)
{
    char *beside = alloc_format("%s.new", path);
    const struct group *members = getgrnam(group);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, MODE);
    bool ok = fd >= 0 && fchmod(fd, MODE) == 0 && (members == NULL || fchown(fd, (uid_t)-1, members->gr_gid) == 0) &&
              write_keys(fd, keys);
    int saved = errno;

    if (fd >= 0 && close(fd) != 0 && ok) {
        ok = false;
        saved = errno;
    }
    if (ok && (rename(beside, path) != 0 || !folder_sync(path))) {
        ok = false;
        saved = errno;
    }
    if (!ok && fd >= 0)
        unlink(beside);
    free(beside);
    errno = saved;
    return ok;
}

bool envelope_keys_renew(const char *path, const char *group, struct envelope_keys *keys, char why[ENVELOPE_WHY_SIZE])
{
    bool missing;

    if (!envelope_keys_read(path, keys, &missing, why) && !missing)
        return false;
    if (keys->count == ENVELOPE_KEYS_MAX)
        keys->count--;
    memmove(keys->keys + 1, keys->keys, keys->count * sizeof *keys->keys);
    keys->count++;
    if (getrandom(keys->keys[0].secret, ENVELOPE_SECRET_BYTES, 0) != ENVELOPE_SECRET_BYTES)
        return fail_with(why, path, "no randomness to draw a key from");
    envelope_key_identify(&keys->keys[0]);
    return write_file(path, group, keys) || fail_with(why, path, strerror(errno));
}
