/* load.c - the settings file into a snapshot.
 *
 * libConfuse reads the text and remembers where each value stood; then all values are judged by the table, and against
 * each other, so that one run tells every fault.
 */
#include <assert.h>
#include <confuse.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"
#include "settings/table.h"

enum { SETTINGS_FILE_MAX = 1 << 20, SHOWN_MAX = 200, VALUE_MAX = 4096, ROW_MAX = 64, SECTION_MAX = 8 };

/* Comes behind the text of the file: libConfuse takes a file for whole that ends within a section or a comment. */
#define END_MARK "end-of-file"

/* A load under way.  libConfuse gives its callbacks no context. */
static struct load {
    const char *path; /* printable */
    void (*report)(void *context, const char *line);
    void *context;
    bool failed;
    struct settings_snapshot *snapshot;
    int *lines; /* of each row: where the value was given last; 0: it is the default */
    int *domain_lines;
    size_t domain_count;
    const char *sections[SECTION_MAX]; /* seen */
    size_t section_count;
} *load;

static void fault(int line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fault(int line, const char *format, ...)
{
    char *text, *whole;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    whole = line > 0 ? alloc_format("%s:%d: %s", load->path, line, text) : alloc_format("%s: %s", load->path, text);
    load->failed = true;
    load->report(load->context, whole);
    free(whole);
    free(text);
}

/* The steps of Levenshtein's that turn A into B; the length of A when it is much longer, as then they are many. */
static size_t distance(const char *a, const char *b)
{
    size_t width = strlen(b), row[64], diagonal, next;

    if (width >= sizeof row / sizeof *row || strlen(a) > 2 * width)
        return strlen(a);
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            next = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            next = next < row[j] + 1 ? next : row[j] + 1;
            row[j + 1] = next < diagonal + 1 ? next : diagonal + 1;
        }
    }
    return row[width];
}

/* The setting or section that NAME may have meant, or NULL. */
static const char *closest_name(const char *name)
{
    const char *best = NULL, *candidate;
    size_t best_distance = strlen(name) / 2 + 1, d;

    for (size_t i = 0; i < 2 * settings_row_count; i++) {
        candidate = i < settings_row_count ? settings_rows[i].name : settings_rows[i - settings_row_count].section;
        d = candidate == NULL ? best_distance : distance(name, candidate);
        if (d < best_distance) {
            best = candidate;
            best_distance = d;
        }
    }
    return best;
}

static void unknown_setting(int line, const char *name, const char *section)
{
    const char *close = closest_name(name);
    char *shown = text_printable_new(name, SHOWN_MAX);
    const struct settings_row *elsewhere = NULL;

    for (size_t i = 0; i < settings_row_count && elsewhere == NULL; i++)
        if (strcmp(settings_rows[i].name, name) == 0 && settings_rows[i].section != NULL)
            elsewhere = &settings_rows[i];
    if (strcmp(name, END_MARK) == 0)
        fault(line, "%s: the section does not end; a } is missing", section);
    else if (elsewhere != NULL && strcmp(section, elsewhere->section) != 0)
        fault(line, "%s: not a setting here; it belongs into %s { }", shown, elsewhere->section);
    else if (close != NULL && strcmp(close, name) != 0)
        fault(line, "%s: no such setting; the closest is %s", shown, close);
    else
        fault(line, "%s: no such setting here; hunnypot-milter --sample shows all", shown);
    free(shown);
}

static void on_confuse_error(cfg_t *cfg, const char *format, va_list arguments)
{
    static const char unknown[] = "no such option '";
    char *text, *shown;

    if (vasprintf(&text, format, arguments) < 0)
        return;
    if (strncmp(text, unknown, sizeof unknown - 1) == 0) {
        text[strlen(text) - 1] = '\0';
        unknown_setting(cfg->line, text + sizeof unknown - 1, cfg_name(cfg));
    } else {
        shown = text_printable_new(text, SHOWN_MAX);
        fault(cfg->line, "%s; a line is `name = value`, `name = {value, value}` or `section {`; put text into quotes",
              shown);
        free(shown);
    }
    free(text);
}

/* The row of OPTION in the section CFG, or NULL. */
static const struct settings_row *row_of(const cfg_t *cfg, const char *name)
{
    return settings_row_find(strcmp(cfg->name, "root") != 0 ? cfg->name : NULL, name);
}

/* ROW has a value at LINE, the only one of OPTION so far, or one more of a list. */
static void note_line(const struct settings_row *row, cfg_opt_t *option, int line)
{
    int *before = &load->lines[row - settings_rows];
    char *title;

    if (*before > 0 && cfg_opt_size(option) == 1) {
        title = settings_row_title(row);
        fault(line, "%s: given twice; line %d has it, too", title, *before);
        free(title);
    }
    *before = line;
}

/* Keep the line; values are judged when all is read, so that each fault is told. */
static int on_value(cfg_t *cfg, cfg_opt_t *option, const char *value, void *result)
{
    const struct settings_row *row = cfg->line > 0 ? row_of(cfg, cfg_opt_name(option)) : NULL;

    if (row != NULL)
        note_line(row, option, cfg->line);
    else if (cfg->line > 0) /* no default: libConfuse takes `limits|idle = 5s` outside of the section */
        unknown_setting(cfg->line, cfg_opt_name(option), cfg_name(cfg));
    *(const char **)result = value;
    return 0;
}

static int on_section_end(cfg_t *cfg, cfg_opt_t *option)
{
    if (option->flags & CFGF_MULTI) {
        load->domain_lines = alloc_resized(load->domain_lines, load->domain_count + 1, sizeof *load->domain_lines);
        load->domain_lines[load->domain_count++] = cfg->line;
        for (const struct settings_row *row = settings_rows; row < settings_rows + settings_row_count; row++)
            if (settings_row_is_of_domain(row))
                load->lines[row - settings_rows] = 0;
        return 0;
    }
    for (size_t i = 0; i < load->section_count; i++)
        if (strcmp(load->sections[i], cfg_opt_name(option)) == 0) {
            fault(cfg->line, "%s: given twice; put all its settings into one section", load->sections[i]);
            return 0;
        }
    load->sections[load->section_count++] = cfg_opt_name(option);
    return 0;
}

static cfg_opt_t row_option(const struct settings_row *row)
{
    cfg_opt_t text = CFG_STR_CB(row->name, row->standard, CFGF_NONE, on_value);
    cfg_opt_t list = CFG_STR_LIST_CB(row->name, (char *)row->standard, CFGF_NONE, on_value); /* it is only read */

    return row->type == TYPE_LIST ? list : text;
}

struct options {
    cfg_opt_t top[ROW_MAX + SECTION_MAX + 2];
    cfg_opt_t of_sections[ROW_MAX + SECTION_MAX + 1];
};

/* The table as libConfuse wants it: an array for each section, ended by zeroes.  OPTIONS are zeroes before. */
static void options_fill(struct options *options)
{
    cfg_opt_t section = CFG_SEC(NULL, NULL, CFGF_NONE), end = CFG_STR(END_MARK, NULL, CFGF_NODEFAULT);
    cfg_opt_t *next_top = options->top, *next = options->of_sections;

    assert(settings_row_count <= ROW_MAX);
    for (const struct settings_row *row = settings_rows; row < settings_rows + settings_row_count; row++) {
        if (row->section == NULL) {
            *next_top++ = row_option(row);
            continue;
        }
        if (settings_row_begins_section(row)) {
            section.name = row->section;
            section.subopts = ++next;
            section.flags = settings_row_is_of_domain(row) ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE;
            section.validcb = on_section_end;
            *next_top++ = section;
        }
        *next++ = row_option(row);
    }
    *next_top = end;
}

static void number_store(void *member, size_t size, int64_t value)
{
    switch (size) {
    case sizeof(bool):
        *(bool *)member = value != 0;
        break;
    case sizeof(uint16_t):
        *(uint16_t *)member = (uint16_t)value;
        break;
    case sizeof(uint32_t):
        *(uint32_t *)member = (uint32_t)value;
        break;
    default:
        *(int64_t *)member = value;
    }
}

static int64_t number_parse(const char *text)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    return isdigit((unsigned char)*text) && *end == '\0' && errno == 0 ? number : -1;
}

static void wrong(const struct settings_row *row, const char *value, const char *what, const char *right)
{
    char *name = settings_row_title(row), *shown = text_printable_new(value, SHOWN_MAX);

    fault(load->lines[row - settings_rows], "%s: \"%s\" %s%s%s", name, row->secret ? "..." : shown, what,
          right != NULL ? "; " : "", right != NULL ? right : "");
    free(name);
    free(shown);
}

static void take_amount(const struct settings_row *row, const char *text, void *member)
{
    bool is_duration = row->type == TYPE_DURATION;
    int64_t value = is_duration ? text_duration_ms(text) : number_parse(text), unit = row->unit_ms > 0 ? row->unit_ms : 1;
    char *right;

    if (value >= row->min && value <= row->max && value % unit == 0) {
        number_store(member, row->size, value / unit);
        return;
    }
    if (is_duration)
        right = alloc_format("from %lld%s to %llds, written as 500ms, 30s, 10m, 1h or 2d",
                             (long long)(row->min % 1000 == 0 ? row->min / 1000 : row->min),
                             row->min % 1000 == 0 ? "s" : "ms", (long long)row->max / 1000);
    else
        right = alloc_format("from %lld to %lld", (long long)row->min, (long long)row->max);
    wrong(row, text, value < 0 ? is_duration ? "is no duration" : "is no number" : "is out of bounds", right);
    free(right);
}

/* The index of TEXT among the choices of ROW goes to MEMBER. */
static void take_choice(const struct settings_row *row, const char *text, void *member)
{
    char *all = alloc_text(row->choices[0]), *longer;

    for (int i = 0; row->choices[i] != NULL; i++)
        if (strcmp(row->choices[i], text) == 0) {
            free(all);
            number_store(member, row->size, i);
            return;
        }
    for (int i = 1; row->choices[i] != NULL; i++) {
        longer = alloc_format("%s%s%s", all, row->choices[i + 1] != NULL ? ", " : " or ", row->choices[i]);
        free(all);
        all = longer;
    }
    wrong(row, text, "is not among the choices", all);
    free(all);
}

/* Controls but ALLOWED would break lines of the log, and steer the terminal that shows them. */
static bool has_control(const char *text, const char *allowed)
{
    for (; *text != '\0'; text++)
        if (iscntrl((unsigned char)*text) && strchr(allowed, *text) == NULL)
            return true;
    return false;
}

static void take_value(const struct settings_row *row, const char *text)
{
    struct settings_values *values = &load->snapshot->values[row - settings_rows];
    struct settings *settings = &load->snapshot->settings;
    void *member = (char *)settings + row->offset;
    char *copy = alloc_text(text);
    const char *what = NULL, *controls = row->has_lines ? "\n\t" : "";

    values->texts = settings_append(values->texts, &values->count, sizeof copy, &copy);
    if (row->type == TYPE_DURATION || row->type == TYPE_NUMBER) {
        take_amount(row, text, member);
    } else if (row->type == TYPE_CHOICE) {
        take_choice(row, text, member);
    } else {
        what = strlen(text) > VALUE_MAX ? "is too long" : row->take(settings, text);
        if (what == NULL && has_control(text, controls))
            what = "has a control character";
        if (what != NULL)
            wrong(row, text, what, row->right);
        if (row->type == TYPE_TEXT)
            *(char **)member = alloc_text(text);
    }
}

static void add_rule(struct settings_judge *judge, const struct settings_rule *rule)
{
    judge->rules = settings_append(judge->rules, &judge->rule_count, sizeof *rule, rule);
}

static bool pattern_normalize(const char *name, char pattern[DOMAIN_MAX + 3])
{
    bool wild = strncmp(name, "*.", 2) == 0;

    strcpy(pattern, wild ? "*." : "*");
    return strcmp(name, "*") == 0 || domain_normalize(wild ? name + 2 : name, pattern + (wild ? 2 : 0));
}

static void take_domain(cfg_t *section, int line)
{
    struct settings_judge *judge = &load->snapshot->settings.judge;
    char *shown = text_printable_new(cfg_title(section), SHOWN_MAX);
    struct settings_rule rule = {0};

    for (const struct settings_row *row = settings_rows; row < settings_rows + settings_row_count; row++)
        if (settings_row_is_of_domain(row)) {
            load->lines[row - settings_rows] = line;
            take_choice(row, cfg_getstr(section, row->name), (char *)&rule + row->offset);
        }
    if (rule.on_outage == ON_OUTAGE_ACCEPT && rule.role != ROLE_AUTO && rule.role != ROLE_BACKUP)
        fault(line, "domain \"%s\": on_outage = accept contradicts this role: only a backup has primaries to wait for", shown);
    if (!pattern_normalize(cfg_title(section), rule.pattern))
        fault(line, "domain \"%s\": is no domain; example.com, *.example.com or *", shown);
    for (size_t i = 0; i < judge->rule_count; i++)
        if (strcmp(judge->rules[i].pattern, rule.pattern) == 0)
            fault(line, "domain \"%s\": given twice; one section for each domain", shown);
    add_rule(judge, &rule);
    free(shown);
}

static void take_all(cfg_t *cfg)
{
    struct settings_judge *judge = &load->snapshot->settings.judge;
    struct settings_rule rest = {.pattern = "*", .role = ROLE_AUTO};
    cfg_t *section = cfg;
    bool has_rest = false;

    for (const struct settings_row *row = settings_rows; !settings_row_is_of_domain(row); row++) {
        cfg_opt_t *option;

        if (settings_row_begins_section(row))
            section = cfg_getsec(cfg, row->section);
        option = cfg_getopt(section, row->name);
        for (unsigned i = 0; i < cfg_opt_size(option); i++)
            take_value(row, cfg_opt_getnstr(option, i));
    }
    /* A section that was broken off has no line, and the fault was told. */
    for (unsigned i = 0; i < cfg_size(cfg, "domain") && i < load->domain_count; i++)
        take_domain(cfg_getnsec(cfg, "domain", i), load->domain_lines[i]);
    for (size_t i = 0; i < judge->rule_count; i++)
        has_rest = has_rest || strcmp(judge->rules[i].pattern, "*") == 0;
    if (!has_rest)
        add_rule(judge, &rest);
}

/* An empty sensor is the host's name. */
static void name_sensor(struct settings_snapshot *snapshot)
{
    struct settings_values *values = &snapshot->values[settings_row_find(NULL, "sensor") - settings_rows];
    char name[256] = "";

    if (*snapshot->settings.sensor != '\0')
        return;
    gethostname(name, sizeof name - 1);
    free(snapshot->settings.sensor);
    free(values->texts[0]);
    snapshot->settings.sensor = text_printable_new(name, sizeof name);
    values->texts[0] = alloc_text(snapshot->settings.sensor);
}

/* "liveness.remember = 5s", as written or by default, of what is in `domain` sections just the name; the caller frees. */
static char *row_as_written(const struct settings_row *row)
{
    const struct settings_values *values = &load->snapshot->values[row - settings_rows];
    char *title = settings_row_title(row), *value = text_printable_new(values->count > 0 ? values->texts[0] : "", SHOWN_MAX);
    char *text = alloc_format("%s%s%s", title, values->count > 0 ? " = " : "", value);

    free(title);
    free(value);
    return text;
}

/* The default of ROW gives way to the value of OTHER. */
static void follow(const struct settings_row *row, const struct settings_row *other)
{
    struct settings_values *values = load->snapshot->values;

    values[row - settings_rows].count = 0;
    free(values[row - settings_rows].texts[0]);
    take_value(row, values[other - settings_rows].texts[0]);
}

static void find_contradictions(void)
{
    for (const struct settings_contradiction *one = settings_contradictions; one->is_there != NULL; one++) {
        const struct settings_row *rows[] = {settings_row_find(one->sections[0], one->names[0]),
                                             settings_row_find(one->sections[1], one->names[1])};
        int lines[] = {load->lines[rows[0] - settings_rows], load->lines[rows[1] - settings_rows]};
        char *first, *second;

        if (!one->is_there(&load->snapshot->settings))
            continue;
        if (one->follows && lines[0] == 0) {
            follow(rows[0], rows[1]);
            continue;
        }
        first = row_as_written(rows[0]);
        second = row_as_written(rows[1]);
        fault(lines[0] > lines[1] ? lines[0] : lines[1], "%s contradicts %s: %s", first, second, one->why);
        free(first);
        free(second);
    }
}

/* The whole file and END_MARK as a C string, or NULL after saying why: libConfuse would end the process over a folder or a read error. */
static char *read_whole(const char *path)
{
    static const char end[] = "\n" END_MARK " = 1";
    FILE *file = fopen(path, "re");
    char *text = NULL;
    struct stat status;
    size_t size = 0, length = 0;

    if (file == NULL || fstat(fileno(file), &status) != 0) {
        fault(0, "cannot be read: %s", strerror(errno));
    } else if (S_ISDIR(status.st_mode)) {
        fault(0, "is a folder; give the file");
    } else {
        do {
            size = size * 2 + 8192;
            text = alloc_resized(text, size + sizeof end, 1);
            length += fread(text + length, 1, size - length, file);
        } while (length == size && length <= SETTINGS_FILE_MAX);
        text[length] = '\0';
        if (ferror(file))
            fault(0, "cannot be read: %s", strerror(errno));
        else if (length > SETTINGS_FILE_MAX)
            fault(0, "is longer than 1 MiB; it cannot be a settings file");
        else if (strlen(text) != length)
            fault(0, "holds a NUL byte; it cannot be a settings file");
        length = strlen(text);
        strcpy(text + length, length > 0 && text[length - 1] == '\n' ? end + 1 : end);
    }
    if (file != NULL)
        fclose(file);
    return text;
}

struct settings *settings_load(const char *path, void (*report)(void *context, const char *line), void *context)
{
    struct settings_snapshot *snapshot = alloc_zeroed(1, sizeof *snapshot);
    char *shown = text_printable_new(path, PATH_MAX);
    struct load this = {.path = shown, .report = report, .context = context, .snapshot = snapshot,
                        .lines = alloc_zeroed(settings_row_count, sizeof *this.lines)};
    struct options *options = alloc_zeroed(1, sizeof *options);
    cfg_t *cfg = NULL;
    char *text;

    atomic_init(&snapshot->holders, 1);
    snapshot->settings.snapshot = snapshot;
    snapshot->values = alloc_zeroed(settings_row_count, sizeof *snapshot->values);
    load = &this;
    text = read_whole(path);
    if (!this.failed) {
        options_fill(options);
        cfg = cfg_init(options->top, CFGF_NONE);
        cfg_set_error_function(cfg, on_confuse_error);
        if (cfg_parse_buf(cfg, text) != CFG_SUCCESS && !this.failed)
            fault(cfg->line, "cannot be read from here on; is a quote, a brace or a value missing?");
        else if (!this.failed && cfg_size(cfg, END_MARK) == 0)
            fault(cfg->line, "the file ends within a comment; a */ is missing");
        take_all(cfg);
        if (!this.failed)
            find_contradictions();
        name_sensor(snapshot);
        cfg_free(cfg);
    }
    load = NULL;
    free(this.domain_lines);
    free(this.lines);
    free(options);
    free(text);
    free(shown);
    if (!this.failed)
        return &snapshot->settings;
    settings_release(&snapshot->settings);
    return NULL;
}

