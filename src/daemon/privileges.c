#include "daemon/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"

static bool say_fault(char why[PRIVILEGES_WHY_SIZE], const char *what, const char *name)
{
    snprintf(why, PRIVILEGES_WHY_SIZE, "%s %s", what, name);
    return false;
}

bool privileges_find_user(const char *name, struct privileges_user *user, char why[PRIVILEGES_WHY_SIZE])
{
    const struct passwd *entry = getpwnam(name);

    if (entry == NULL)
        return say_fault(why, "there is no user", name);
    if (entry->pw_uid == 0)
        return say_fault(why, "the daemon does not run as", name);
    *user = (struct privileges_user){.name = alloc_text(name), .uid = entry->pw_uid, .gid = entry->pw_gid};
    return true;
}

bool privileges_find_group(const char *name, gid_t *gid, char why[PRIVILEGES_WHY_SIZE])
{
    const struct group *entry = getgrnam(name);

    if (entry == NULL)
        return say_fault(why, "there is no group", name);
    *gid = entry->gr_gid;
    return true;
}

/* The call is left out where it would change nothing: a service manager's filter may forbid it. */
static bool drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3] = {0}, none[_LINUX_CAPABILITY_U32S_3] = {0};

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 || syscall(SYS_capget, &header, held) != 0)
        return false;
    return memcmp(held, none, sizeof held) == 0 || syscall(SYS_capset, &header, none) == 0;
}

/* Nothing that is executed later can have more than what is in the bounding set; only root may shrink it. */
static bool drop_bounding_set(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
            return false;
    return true;
}

static bool become(const struct privileges_user *user)
{
    return drop_bounding_set() && initgroups(user->name, user->gid) == 0 &&
           setresgid(user->gid, user->gid, user->gid) == 0 && setresuid(user->uid, user->uid, user->uid) == 0;
}

static bool is_dropped(void)
{
    uid_t real, effective, saved;

    return getresuid(&real, &effective, &saved) == 0 && real != 0 && effective != 0 && saved != 0 && setuid(0) != 0;
}

bool privileges_drop(const struct privileges_user *user, char why[PRIVILEGES_WHY_SIZE])
{
    if (user != NULL && !become(user))
        return say_fault(why, "cannot become that user:", strerror(errno));
    if (!drop_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return say_fault(why, "cannot give up privileges:", strerror(errno));
    return is_dropped() || say_fault(why, "still", "root");
}
