/* second_net.h - does a mail server of this host put off, at the end of a message, what the milter may let it take?
 *
 * The shipped configurations do, as the second net of a host that only traps: Postfix's smtpd_end_of_data_restrictions,
 * sendmail's check_eom.  Where settings_may_take() that would put off what is to be taken.
 * Threads:  any.
 * Owns:     nothing.
 * Fails:    towards "no": a mail server of another host, or one that is configured elsewhere, is not seen.
 */
#ifndef DAEMON_SECOND_NET_H
#define DAEMON_SECOND_NET_H

#include <stdbool.h>

enum { SECOND_NET_WHERE_SIZE = 128 };

/* True, and WHERE says file, line and what to take out there, when a mail server that has this milter's SOCKET does. */
bool second_net_is_there(const char *socket, char where[SECOND_NET_WHERE_SIZE]);

#endif
