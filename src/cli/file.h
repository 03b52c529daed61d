/* file.h - whole files: read, and replaced durably.  Fails: as cli.h says. */
#ifndef CLI_FILE_H
#define CLI_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/cli.h"

/* The text of PATH; the caller frees.  CLI_OK or CLI_FAILED. */
int file_read(const char *path, char **text);

/* A file to be replaced: under a lock (TARGET.lock) from begin to end, written beside it (TARGET.new). */
struct file_replacement;

enum { FILE_NOTE_MAX = 400 };

/* Waits for the lock, unless CLI is to stop.  CLI_OK with *REPLACEMENT to be ended, or CLI_FAILED. */
int file_replace_begin(struct file_replacement **replacement, const struct cli *cli, const char *target);

/* False, and says why, when it could not be written. */
bool file_replace_write(struct file_replacement *replacement, const char *data, size_t length);

/* Put it in place, with mode and owner of the old file, so that it is there after a power cut; or leave the old one
 * untouched when it is the same (*CHANGED is false then).  NOTE: what it was made from, for file_replace_is_noted(), or NULL;
 * it is at most FILE_NOTE_MAX long, or the next run does not find it. */
int file_replace_commit(struct file_replacement *replacement, const char *note, bool *changed);

/* Whether the target was committed with NOTE, and is as it was then.  False as well where the file system keeps no extended
 * attributes, which is where the note is. */
bool file_replace_is_noted(const struct file_replacement *replacement, const char *note);

/* Whether there is any note at PATH: whoever exports to it then renews the note every hour, and with it the file's ctime. */
bool file_has_note(const char *path);

/* A command is owed for the file that is being made, from the moment on that it is in place until file_settle(); also after a power
 * cut, but not where the file system keeps no extended attributes. */
void file_replace_owe(struct file_replacement *replacement);
bool file_is_owed(const char *path);
void file_settle(const char *path);

/* What was not committed is gone, and the target is as it was. */
void file_replace_end(struct file_replacement **replacement);

#endif
