/* place.h - where the socket and the spool are: folders, modes, owners, and what is in the way.
 *
 * Threads:  before the first thread.
 * Fails:    false, with a printable text in WHY.
 */
#ifndef DAEMON_PLACE_H
#define DAEMON_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

enum { PLACE_WHY_SIZE = 512 };

/* Make the folder of FILE, if it is missing and its own parent is there, with MODE and, as root, for UID and GID. */
bool place_make_folder(const char *file, mode_t mode, uid_t uid, gid_t gid, char why[PLACE_WHY_SIZE])
    __attribute__((warn_unused_result));

/* Could place_make_folder() and a file in it work?  Changes nothing. */
bool place_check_folder(const char *file, char why[PLACE_WHY_SIZE]) __attribute__((warn_unused_result));

/* Open the milter's SOCKET by server_open().  A unix socket is made with mode 0660 for UID (as root) and GID; one that
 * nobody listens on is removed before, one that is answered, or a file that is no socket, is refused. */
bool place_open_socket(const char *socket, uid_t uid, gid_t gid, char why[PLACE_WHY_SIZE])
    __attribute__((warn_unused_result));

#endif
