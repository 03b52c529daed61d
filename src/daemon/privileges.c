#include "daemon/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool fail(char *why, size_t why_size, const char *step)
{
    snprintf(why, why_size, "%s: %s", step, strerror(errno));
    return false;
}

/* Nothing may come back: neither by a set-user-ID program, nor from the bounding set. */
static void bounding_set_empty(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

static bool capabilities_clear(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capset, &header, none) == 0;
}

static bool become(const struct passwd *entry, char *why, size_t why_size)
{
    uid_t real, effective, saved;

    bounding_set_empty();
    if (initgroups(entry->pw_name, entry->pw_gid) != 0)
        return fail(why, why_size, "initgroups");
    if (setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0)
        return fail(why, why_size, "setresgid");
    if (setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0)
        return fail(why, why_size, "setresuid");
    if (!capabilities_clear())
        return fail(why, why_size, "capset");
    errno = EPERM;
    if (getresuid(&real, &effective, &saved) != 0 || real != entry->pw_uid || effective != entry->pw_uid ||
        saved != entry->pw_uid || setuid(0) == 0)
        return fail(why, why_size, "still root after setresuid");
    return true;
}

bool privileges_drop(const char *user, char *why, size_t why_size)
{
    const struct passwd *entry;

    if (geteuid() == 0 || getuid() == 0) {
        errno = 0;
        entry = getpwnam(user);
        if (entry == NULL) {
            snprintf(why, why_size, "no such user: %s", user);
            return false;
        }
        if (entry->pw_uid == 0) {
            snprintf(why, why_size, "user %s is root: name an ordinary user", user);
            return false;
        }
        if (!become(entry, why, why_size))
            return false;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(why, why_size, "no_new_privs");
    return true;
}

unsigned long privileges_raise_descriptors(unsigned long wanted)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < wanted) {
        struct rlimit raised = {.rlim_cur = wanted, .rlim_max = wanted > limit.rlim_max ? wanted : limit.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            return wanted;
        raised = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            return limit.rlim_max;
    }
    return limit.rlim_cur;
}
