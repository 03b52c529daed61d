#include "witness/logformat.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/text.h"

enum { FILE_BYTES_MAX = 1 << 16, ID_MAX = 64, WORD_MAX = 64 };

/* One place of a pattern, and the text behind it. */
enum place { PLACE_START, PLACE_ANY, PLACE_ID, PLACE_CLIENT, PLACE_FROM, PLACE_TO };
static const struct {
    const char *word;
    enum place place;
    char need; /* as in the table of events */
} places[] = {{"*", PLACE_ANY, 0},         {"id", PLACE_ID, 'i'},     {"client", PLACE_CLIENT, 'c'},
              {"from", PLACE_FROM, 'f'}, {"to", PLACE_TO, 't'}};

struct piece {
    enum place place;
    char *literal;
    size_t length;
};

struct rule {
    enum logformat_event event;
    char program[WORD_MAX]; /* "*": any */
    struct piece pieces[LOGFORMAT_PIECES_MAX];
    size_t piece_count;
};

/* What says in any log that lines are missing in it. */
static const char loss_rules[] = "suppressed systemd-journald Suppressed {*}\n"
                                 "suppressed rsyslogd {*} due to rate-limiting{*}\n"
                                 "suppressed rsyslogd {*} messages lost {*}";
enum { LOSS_RULE_COUNT = 3 };

struct logformat {
    bool bare;
    struct rule rules[LOGFORMAT_RULES_MAX + LOSS_RULE_COUNT];
    size_t rule_count;
};

static const struct {
    const char *word, *needs;
} events[] = {
    [LOGFORMAT_NONE] = {"", ""},
#define X(identifier, word, needs) [LOGFORMAT_##identifier] = {word, needs},
    LOGFORMAT_EVENT_TABLE(X)
#undef X
};

/* --- reading a format --- */

static enum logformat_event event_from_word(const char *word)
{
    for (size_t i = 1; i < sizeof events / sizeof *events; i++)
        if (strcmp(events[i].word, word) == 0)
            return (enum logformat_event)i;
    return LOGFORMAT_NONE;
}

/* The place that TEXT, behind the brace, names; it is moved behind the closing brace.  False: there is no such place. */
static bool place_take(const char **text, enum place *place, char *need)
{
    const char *end = strchr(*text, '}');

    for (size_t i = 0; i < sizeof places / sizeof *places && end != NULL; i++)
        if (strlen(places[i].word) == (size_t)(end - *text) && strncmp(*text, places[i].word, strlen(places[i].word)) == 0) {
            *place = places[i].place;
            *need = places[i].need;
            *text = end + 1;
            return true;
        }
    return false;
}

/* The text up to the next place, with its doubled braces made single. */
static void literal_take(const char **text, struct piece *piece)
{
    piece->literal = alloc_zeroed(strlen(*text) + 1, 1);
    for (; **text != '\0'; (*text)++) {
        if (**text == '{' && (*text)[1] != '{')
            return;
        if (**text == '{')
            (*text)++;
        piece->literal[piece->length++] = **text;
    }
}

/* NULL when PATTERN is fine, else what is wrong.  NEEDS gets one letter for each place. */
static const char *pattern_compile(const char *pattern, struct rule *rule, char needs[LOGFORMAT_PIECES_MAX + 1])
{
    size_t need_count = 0;
    char need = 0;

    rule->piece_count = 1;
    literal_take(&pattern, &rule->pieces[0]);
    while (*pattern != '\0') {
        struct piece *piece = &rule->pieces[rule->piece_count];

        if (rule->piece_count == LOGFORMAT_PIECES_MAX)
            return "too many places in one pattern";
        pattern++;
        if (!place_take(&pattern, &piece->place, &need))
            return "a place is one of {id}, {client}, {from}, {to}, {*}; a brace itself is written {{";
        rule->piece_count++;
        literal_take(&pattern, piece);
        if (piece->length == 0 && *pattern != '\0')
            return "between two places there must be some text";
        if (need == 't' && strchr(needs, 't') != NULL && strchr(strchr(needs, 't') + 1, 't') != NULL)
            return "{to} may come twice, not more often";
        if (need != 0 && need != 't' && strchr(needs, need) != NULL)
            return "a place other than {*} and {to} may come once";
        if (need != 0)
            needs[need_count++] = need;
    }
    return NULL;
}

static const char *rule_check(const struct rule *rule, const char *needs)
{
    static const struct {
        char need;
        const char *missing;
    } all[] = {{'i', "this event needs {id} in its pattern"},
               {'c', "this event needs {client} in its pattern"},
               {'f', "this event needs {from} in its pattern"},
               {'t', "this event needs {to} in its pattern"}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strchr(events[rule->event].needs, all[i].need) != NULL && strchr(needs, all[i].need) == NULL)
            return all[i].missing;
    return NULL;
}

static const char *rule_take(struct logformat *format, const char *event, char *rest)
{
    struct rule *rule = &format->rules[format->rule_count];
    char needs[LOGFORMAT_PIECES_MAX + 1] = "", *program = strtok_r(NULL, " \t", &rest);
    const char *wrong;

    if (format->rule_count == sizeof format->rules / sizeof *format->rules)
        return "too many rules";
    *rule = (struct rule){.event = event_from_word(event)};
    if (rule->event == LOGFORMAT_NONE)
        return "no such event";
    if (program == NULL || strlen(program) >= sizeof rule->program)
        return "behind the event there must be a program, or \"*\"";
    strcpy(rule->program, program);
    rest += strspn(rest, " \t");
    if (*rest == '\0')
        return "behind the program there must be a pattern";
    format->rule_count++; /* so that it is freed */
    wrong = pattern_compile(rest, rule, needs);
    return wrong != NULL ? wrong : rule_check(rule, needs);
}

static const char *line_take(struct logformat *format, char *line)
{
    char *rest = NULL, *word;

    line[strcspn(line, "\r")] = '\0';
    for (size_t length = strlen(line); length > 0 && strchr(" \t", line[length - 1]) != NULL; length--)
        line[length - 1] = '\0';
    if (line[strspn(line, " \t")] == '#')
        return NULL;
    word = strtok_r(line, " \t", &rest);
    if (word == NULL)
        return NULL;
    if (strcmp(word, "lines") != 0)
        return rule_take(format, word, rest);
    word = strtok_r(NULL, "", &rest);
    if (word == NULL || (strcmp(word, "syslog") != 0 && strcmp(word, "bare") != 0))
        return "lines are \"syslog\" or \"bare\"";
    format->bare = strcmp(word, "bare") == 0;
    return NULL;
}

/* NULL when all lines of TEXT are fine, else what is wrong with line *NUMBER. */
static const char *lines_take(struct logformat *format, const char *text, unsigned *number)
{
    char *copy = alloc_text(text), *at = copy;
    const char *wrong = NULL;

    for (*number = 0; at != NULL && wrong == NULL; ++*number)
        wrong = line_take(format, strsep(&at, "\n"));
    free(copy);
    return wrong;
}

struct logformat *logformat_parse(const char *name, const char *text, char why[LOGFORMAT_WHY_SIZE])
{
    struct logformat *format = alloc_zeroed(1, sizeof *format);
    char printable[LOGFORMAT_WHY_SIZE / 2];
    unsigned number, ignored;
    const char *wrong = lines_take(format, text, &number);

    text_printable(printable, sizeof printable, name, strlen(name));
    if (wrong == NULL && format->rule_count > LOGFORMAT_RULES_MAX)
        wrong = "too many rules before the end of it";
    if (wrong != NULL)
        snprintf(why, LOGFORMAT_WHY_SIZE, "%s: line %u: %s", printable, number, wrong);
    else if (format->rule_count == 0)
        snprintf(why, LOGFORMAT_WHY_SIZE, "%s: there is no rule in it", printable);
    if (wrong != NULL || format->rule_count == 0)
        logformat_free(&format);
    else
        lines_take(format, loss_rules, &ignored);
    return format;
}

struct logformat *logformat_read(const char *path, char why[LOGFORMAT_WHY_SIZE])
{
    char *text = alloc_zeroed(FILE_BYTES_MAX + 1, 1), printable[LOGFORMAT_WHY_SIZE / 2];
    FILE *file = fopen(path, "re");
    size_t length = file == NULL ? 0 : fread(text, 1, FILE_BYTES_MAX + 1, file);
    struct logformat *format = NULL;
    const char *wrong = file == NULL || ferror(file) ? strerror(errno) : NULL;

    if (wrong == NULL && length > FILE_BYTES_MAX)
        wrong = "it is too long to be a format";
    else if (wrong == NULL && strlen(text) < length)
        wrong = "it is no text";
    if (file != NULL)
        fclose(file);
    if (wrong == NULL) {
        format = logformat_parse(path, text, why);
    } else {
        text_printable(printable, sizeof printable, path, strlen(path));
        snprintf(why, LOGFORMAT_WHY_SIZE, "%s: %s", printable, wrong);
    }
    free(text);
    return format;
}

void logformat_free(struct logformat **format)
{
    if (*format == NULL)
        return;
    for (size_t i = 0; i < (*format)->rule_count; i++)
        for (size_t j = 0; j < LOGFORMAT_PIECES_MAX; j++)
            free((*format)->rules[i].pieces[j].literal);
    free(*format);
    *format = NULL;
}

/* --- matching --- */

/* Where LITERAL first is in TEXT; with UNQUOTED, outside of double quotes. */
static const char *find_end(const char *text, const char *literal, bool unquoted)
{
    bool quoted = false;

    if (!unquoted)
        return strstr(text, literal);
    for (; *text != '\0'; text++) {
        if (!quoted && strncmp(text, literal, strlen(literal)) == 0)
            return text;
        if (*text == '\\' && quoted && text[1] != '\0')
            text++;
        else if (*text == '"')
            quoted = !quoted;
    }
    return NULL;
}

static bool is_id(const struct logformat_text *text)
{
    for (size_t i = 0; i < text->length; i++)
        if (!isalnum((unsigned char)text->text[i]) && strchr("-_.", text->text[i]) == NULL)
            return false;
    return text->length > 0 && text->length <= ID_MAX;
}

static bool take_client(const struct logformat_text *text, struct ipaddr *client)
{
    char address[IPADDR_TEXT_SIZE];

    if (text->length >= sizeof address)
        return false;
    memcpy(address, text->text, text->length);
    address[text->length] = '\0';
    if (!ipaddr_parse(address, client))
        return false;
    *client = ipaddr_client(client, NULL, 0);
    return true;
}

/* What stands at PLACE; false when it cannot be that. */
static bool place_fill(enum place place, const struct logformat_text *text, struct logformat_entry *entry)
{
    switch (place) {
    case PLACE_ID:
        entry->id = *text;
        return is_id(text);
    case PLACE_CLIENT:
        return take_client(text, &entry->client);
    case PLACE_FROM:
        entry->from = *text;
        return true;
    case PLACE_TO:
        entry->to[entry->to_count++] = *text;
        return true;
    default:
        return true;
    }
}

static bool rule_match(const struct rule *rule, const char *message, struct logformat_entry *entry)
{
    const struct piece *piece = rule->pieces;

    if (strncmp(message, piece->literal, piece->length) != 0)
        return false;
    message += piece->length;
    for (size_t i = 1; i < rule->piece_count; i++) {
        struct logformat_text text = {.text = message};
        const char *end;

        piece = &rule->pieces[i];
        if (piece->length == 0) {
            end = message + strlen(message);
        } else {
            end = find_end(message, piece->literal, piece->place == PLACE_FROM || piece->place == PLACE_TO);
            if (end == NULL && (piece->place == PLACE_FROM || piece->place == PLACE_TO))
                end = find_end(message, piece->literal, false); /* a quote that nothing closes */
        }
        if (end == NULL)
            return false;
        text.length = (size_t)(end - message);
        if (!place_fill(piece->place, &text, entry))
            return false;
        message = end + piece->length;
    }
    return *message == '\0';
}

/* The last part of "postfix/submission/smtpd", LENGTH bytes at TAG. */
static bool is_program(const struct rule *rule, const char *tag, size_t length)
{
    const char *slash;

    if (strcmp(rule->program, "*") == 0)
        return true;
    slash = memrchr(tag, '/', length);
    if (slash != NULL) {
        length -= (size_t)(slash + 1 - tag);
        tag = slash + 1;
    }
    return strlen(rule->program) == length && strncmp(rule->program, tag, length) == 0;
}

static void match(const struct logformat *format, const char *program, size_t length, const char *message,
                  struct logformat_entry *entry)
{
    entry->message = (struct logformat_text){.text = message, .length = strlen(message)};
    for (size_t i = 0; i < format->rule_count; i++) {
        const struct rule *rule = &format->rules[i];
        struct logformat_entry found = {
            .event = rule->event, .stamp = entry->stamp, .host = entry->host, .message = entry->message};

        if ((program == NULL || is_program(rule, program, length)) && rule_match(rule, message, &found)) {
            *entry = found;
            return;
        }
    }
}

/* An MTA may put its own stamp into what it gives to syslog. */
static const char *without_stamp(const char *message, int64_t reference_us)
{
    struct stamp ignored;
    const char *rest = isdigit((unsigned char)*message) ? stamp_parse(message, reference_us, &ignored) : NULL;

    return rest != NULL ? rest : message;
}

void logformat_message(const struct logformat *format, const char *program, const char *message,
                       struct logformat_entry *entry)
{
    match(format, program, strlen(program), without_stamp(message, entry->stamp.time_us), entry);
}

/* "HOST PROGRAM[PID]: " at TEXT, or "HOST PROGRAM: ": what follows it, or NULL. */
static const char *take_tag(const char *text, struct logformat_text *host, struct logformat_text *program)
{
    const char *end = strchr(text, ' '), *tag;

    if (end == NULL || end == text)
        return NULL;
    *host = (struct logformat_text){.text = text, .length = (size_t)(end - text)};
    tag = end + 1;
    *program = (struct logformat_text){.text = tag, .length = strcspn(tag, " [:")};
    end = tag + program->length;
    if (*end == '[') {
        end += 1 + strspn(end + 1, "0123456789");
        if (*end != ']')
            return NULL;
        end++;
    }
    if (program->length == 0 || end[0] != ':' || end[1] != ' ')
        return NULL;
    return end + 2;
}

static bool names_program(const struct logformat *format, const struct logformat_text *program)
{
    for (size_t i = 0; i < format->rule_count; i++)
        if (strcmp(format->rules[i].program, "*") != 0 && is_program(&format->rules[i], program->text, program->length))
            return true;
    return false;
}

/* "<22>" of RFC 3164, as some write it into files. */
static const char *without_priority(const char *line)
{
    const char *end;

    if (*line != '<')
        return line;
    end = line + 1 + strspn(line + 1, "0123456789");
    return end > line + 1 && end < line + 5 && *end == '>' ? end + 1 : line;
}

bool logformat_line(const struct logformat *format, const char *line, int64_t reference_us, struct logformat_entry *entry)
{
    struct logformat_text program = {.text = NULL};
    const char *rest, *message;

    *entry = (struct logformat_entry){.event = LOGFORMAT_NONE};
    rest = stamp_parse(without_priority(line), reference_us, &entry->stamp);
    if (rest == NULL)
        return false;
    message = take_tag(rest, &entry->host, &program);
    if (format->bare && (message == NULL || !names_program(format, &program))) {
        entry->host = (struct logformat_text){.text = ""};
        if (*rest == '[' && rest[1 + strspn(rest + 1, "0123456789")] == ']') {
            rest += strspn(rest + 1, "0123456789") + 2;
            rest += *rest == ' ';
        }
        match(format, NULL, 0, rest, entry);
        return true;
    }
    if (message == NULL)
        return false;
    match(format, program.text, program.length, without_stamp(message, reference_us), entry);
    return true;
}

bool logformat_next_address(struct logformat_text *text, char *out, size_t size)
{
    const char *end = text->text + text->length, *at = text->text;
    bool quoted = false, bracketed = false;
    size_t length;

    if (text->text == NULL || text->length == 0)
        return false;
    for (; at < end && (*at != ',' || quoted || bracketed); at++) {
        if (*at == '\\' && quoted && at + 1 < end)
            at++;
        else if (*at == '"')
            quoted = !quoted;
        else if (!quoted && (*at == '<' || *at == '>'))
            bracketed = *at == '<';
    }
    length = (size_t)(at - text->text);
    out[0] = '\0';
    if (length < size) {
        memcpy(out, text->text, length);
        out[length] = '\0';
    }
    text->text = at < end ? at + 1 : at;
    text->length = (size_t)(end - text->text);
    return true;
}
