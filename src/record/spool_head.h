/* spool_head.h - what a file is that is named as spool, by its first bytes, for those who only look.
 *
 * Threads:  any.
 * Fails:    SPOOL_HEAD_OTHER for what cannot be read.
 */
#ifndef RECORD_SPOOL_HEAD_H
#define RECORD_SPOOL_HEAD_H

enum {
    SPOOL_APPLICATION_ID = 0x48756e79, /* marks a file as ours */
    SPOOL_FORMAT = 6                   /* the newest: the number of steps in spool_format.c */
};

enum spool_head {
    SPOOL_HEAD_FINE,  /* or empty, or so new that all is in its -wal */
    SPOOL_HEAD_OTHER, /* no spool */
    SPOOL_HEAD_NEWER  /* of a format that this program does not know */
};

/* Read at the beginning of FD. */
enum spool_head spool_head_read(int fd);

#endif
