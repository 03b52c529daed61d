#include "cli/format.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/file.h"

static const char name_characters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";

/* Header */

static char *copy_trimmed(const char *from, const char *to)
{
    while (from < to && isspace((unsigned char)*from))
        from++;
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    return alloc_format("%.*s", (int)(to - from), from);
}

/* "name = default  meaning", up to END. */
static int read_parameter(struct format *format, const char *text, const char *end)
{
    const char *equals = memchr(text, '=', (size_t)(end - text)), *value, *gap;
    struct format_parameter *parameter = &format->parameters[format->parameter_count];

    if (equals == NULL)
        return cli_fail("%s: a parameter without a default:%.*s", format->path, (int)(end - text), text);
    if (format->parameter_count == FORMAT_PARAMETERS_MAX)
        return cli_fail("%s: more than %d parameters", format->path, FORMAT_PARAMETERS_MAX);
    value = equals + 1;
    if (value < end && *value == ' ' && value + 1 < end && value[1] != ' ')
        value++;
    gap = memmem(value, (size_t)(end - value), "  ", 2);
    if (gap == NULL)
        gap = end;
    *parameter = (struct format_parameter){
        .name = copy_trimmed(text, equals), .value = copy_trimmed(value, gap), .meaning = copy_trimmed(gap, end)};
    format->parameter_count++;
    return CLI_OK;
}

/* Where the text behind "-- KEY:" starts, or NULL. */
static const char *after_key(const char *line, const char *key)
{
    size_t length = strlen(key);

    line += 2 + strspn(line + 2, " \t");
    return strncmp(line, key, length) == 0 && line[length] == ':' ? line + length + 1 : NULL;
}

static int read_header(struct format *format)
{
    const char *line = format->sql, *end, *text;
    int status = CLI_OK;

    for (; status == CLI_OK && strncmp(line, "--", 2) == 0; line = *end == '\0' ? end : end + 1) {
        end = strchrnul(line, '\n');
        if ((text = after_key(line, "consumer")) != NULL && format->consumer == NULL)
            format->consumer = copy_trimmed(text, end);
        else if ((text = after_key(line, "syntax")) != NULL && format->syntax == NULL)
            format->syntax = copy_trimmed(text, end);
        else if ((text = after_key(line, "parameter")) != NULL)
            status = read_parameter(format, text, end);
    }
    return status;
}

/* Cut what is behind the line "-- changes:" off. */
static void find_changes(struct format *format)
{
    char *line = format->sql;

    while ((line = strstr(line, "\n--")) != NULL && after_key(line + 1, "changes") == NULL)
        line++;
    if (line == NULL)
        return;
    *line = '\0';
    format->changes = strchrnul(line + 1, '\n');
}

static int read_path(struct format **format, char *path)
{
    struct format *made = alloc_zeroed(1, sizeof *made);
    int status;

    made->path = path;
    status = file_read(path, &made->sql);
    if (status == CLI_OK)
        status = read_header(made);
    if (status != CLI_OK) {
        format_free(&made);
        return status;
    }
    find_changes(made);
    *format = made;
    return status;
}

int format_read(struct format **format, const char *const folders[FORMAT_FOLDERS], const char *name)
{
    if (*name == '\0' || strspn(name, name_characters) != strlen(name))
        return cli_usage("%s is no name of a format", name);
    for (size_t i = 0; i < FORMAT_FOLDERS; i++) {
        char *path = alloc_format("%s/%s.sql", folders[i], name);

        if (access(path, F_OK) == 0)
            return read_path(format, path);
        free(path);
    }
    return cli_fail("no such format: %s (see: hunnypot export --list)", name);
}

void format_free(struct format **format)
{
    for (size_t i = 0; i < (*format)->parameter_count; i++) {
        free((*format)->parameters[i].name);
        free((*format)->parameters[i].value);
        free((*format)->parameters[i].meaning);
    }
    free((*format)->path);
    free((*format)->consumer);
    free((*format)->syntax);
    free((*format)->sql);
    free(*format);
    *format = NULL;
}

/* Parameters */

static struct format_parameter *find_parameter(const struct format *format, const char *name, size_t length)
{
    for (size_t i = 0; i < format->parameter_count; i++)
        if (strlen(format->parameters[i].name) == length && strncmp(format->parameters[i].name, name, length) == 0)
            return (struct format_parameter *)&format->parameters[i];
    return NULL;
}

int format_set(struct format *format, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    struct format_parameter *parameter;

    if (equals == NULL)
        return cli_usage("--set takes name=value, not %s", assignment);
    parameter = find_parameter(format, assignment, (size_t)(equals - assignment));
    if (parameter == NULL)
        return cli_usage("%s has no parameter %.*s", format->path, (int)(equals - assignment), assignment);
    free(parameter->value);
    parameter->value = alloc_text(equals + 1);
    return CLI_OK;
}

/* The length of the name in :'name' at TEXT; 0 when it is none. */
static size_t placeholder_length(const char *text)
{
    size_t length = strncmp(text, ":'", 2) == 0 ? strspn(text + 2, name_characters) : 0;

    return length > 0 && text[2 + length] == '\'' ? length : 0;
}

/* What stands for :'NAME', or NULL.  SINCE and MARK are NULL but for changes. */
static const char *find_value(const struct format *format, const char *name, size_t length, const char *since, const char *mark)
{
    const struct format_parameter *parameter;

    if (since != NULL && length == strlen("since") && strncmp(name, "since", length) == 0)
        return since;
    if (mark != NULL && length == strlen("mark") && strncmp(name, "mark", length) == 0)
        return mark;
    parameter = find_parameter(format, name, length);
    return parameter != NULL ? parameter->value : NULL;
}

static char *put_in(const struct format *format, const char *text, const char *since, const char *mark, int *status)
{
    char *sql = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&sql, &size);

    *status = CLI_OK;
    for (const char *in = text; *in != '\0' && *status == CLI_OK;) {
        size_t length = placeholder_length(in);
        const char *value;
        char *literal;

        if (length == 0) {
            putc(*in++, out);
            continue;
        }
        if ((value = find_value(format, in + 2, length, since, mark)) == NULL) {
            *status = cli_fail("%s: no \"-- parameter:\" line for %.*s", format->path, (int)length, in + 2);
            break;
        }
        literal = cli_literal(value);
        fputs(literal, out);
        free(literal);
        in += length + 3;
    }
    fclose(out);
    for (size_t end = strlen(sql); end > 0 && (isspace((unsigned char)sql[end - 1]) || sql[end - 1] == ';');)
        sql[--end] = '\0';
    if (*status != CLI_OK) {
        free(sql);
        sql = NULL;
    }
    return sql;
}

char *format_select(const struct format *format, int *status)
{
    return put_in(format, format->sql, NULL, NULL, status);
}

char *format_changes(const struct format *format, const char *since, const char *mark, int *status)
{
    return put_in(format, format->changes, since, mark, status);
}

/* List */

static int is_sql(const struct dirent *entry)
{
    const char *end = strrchr(entry->d_name, '.');

    return end != NULL && end != entry->d_name && strcmp(end, ".sql") == 0 &&
           strspn(entry->d_name, name_characters) == (size_t)(end - entry->d_name);
}

bool format_is_in(const struct format *format, const char *folder)
{
    size_t length = strlen(folder);

    return strncmp(format->path, folder, length) == 0 && format->path[length] == '/' &&
           strchr(format->path + length + 1, '/') == NULL;
}

static int print_format(const char *const folders[FORMAT_FOLDERS], size_t folder, const char *file)
{
    char *name = alloc_format("%.*s", (int)strlen(file) - 4, file);
    struct format *format = NULL;
    int status = format_read(&format, folders, name);

    /* The one of an earlier folder goes before. */
    if (format != NULL && format_is_in(format, folders[folder])) {
        printf("%-16s %s\n", name, format->consumer == NULL ? file : format->consumer);
        for (size_t i = 0; i < format->parameter_count; i++)
            printf("%16s   %s=%s  %s\n", "", format->parameters[i].name, format->parameters[i].value,
                   format->parameters[i].meaning);
    }
    if (format != NULL)
        format_free(&format);
    free(name);
    return status;
}

int format_list(const char *const folders[FORMAT_FOLDERS])
{
    int status = CLI_OK;

    for (size_t i = 0; i < FORMAT_FOLDERS; i++) {
        struct dirent **entries;
        int count = scandir(folders[i], &entries, is_sql, alphasort);

        /* The user's own folder need not be there. */
        if (count < 0 && errno == ENOENT && i + 1 < FORMAT_FOLDERS)
            continue;
        if (count < 0)
            return cli_fail("%s: %s", folders[i], strerror(errno));
        for (int k = 0; k < count; k++) {
            if (print_format(folders, i, entries[k]->d_name) != CLI_OK)
                status = CLI_FAILED;
            free(entries[k]);
        }
        free(entries);
    }
    return status;
}
