/* privileges.h - from root to nobody in particular, for good.
 *
 * Threads:  before the first thread is created.
 * Fails:    false, with a printable text in WHY; the caller must not go on then.
 */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct privileges_user {
    char *name;
    uid_t uid;
    gid_t gid;
};

enum { PRIVILEGES_WHY_SIZE = 256 };

/* Who is called NAME?  The caller frees user->name.  Root is refused. */
bool privileges_find_user(const char *name, struct privileges_user *user, char why[PRIVILEGES_WHY_SIZE])
    __attribute__((warn_unused_result));
bool privileges_find_group(const char *name, gid_t *gid, char why[PRIVILEGES_WHY_SIZE])
    __attribute__((warn_unused_result));

/* Become USER (NULL: started as somebody else than root, stay who we are), with that user's groups only, without
 * capabilities, and without a way to get any back (no_new_privs); looks afterwards whether it is so. */
bool privileges_drop(const struct privileges_user *user, char why[PRIVILEGES_WHY_SIZE])
    __attribute__((warn_unused_result));

#endif
