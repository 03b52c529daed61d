#include "base/reply.h"

#include <ctype.h>
#include <string.h>

/* With code, enhanced code and line end it stays below the 512 bytes of a reply line (RFC 5321 4.5.3.1.5),
 * and with every % doubled within REPLY_LINE_MAX. */
enum { LINE_TEXT_MAX = 490 };

/* One to three digits at TEXT; their number. */
static size_t digits(const char *text)
{
    size_t count = 0;

    while (count < 4 && isdigit((unsigned char)text[count]))
        count++;
    return count <= 3 ? count : 0;
}

/* The length of the enhanced status code (RFC 3463 2) of class 4 that TEXT starts with; 0 when it does not. */
static size_t enhanced_length(const char *text)
{
    size_t subject, detail;

    if (strncmp(text, "4.", 2) != 0)
        return 0;
    subject = digits(text + 2);
    if (subject == 0 || text[2 + subject] != '.')
        return 0;
    detail = digits(text + 3 + subject);
    return detail == 0 ? 0 : 3 + subject + detail;
}

/* Copy LENGTH bytes, every % twice; false at a byte that is not printable ASCII. */
static bool line_copy(char *out, const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (line[i] < 0x20 || line[i] > 0x7e)
            return false;
        if (line[i] == '%')
            *out++ = '%';
        *out++ = line[i];
    }
    *out = '\0';
    return true;
}

static const char *lines_parse(const char *text, struct reply *reply)
{
    size_t length;

    for (;; text += length + 1) {
        length = strcspn(text, "\n");
        if (length == 0)
            return "every line needs a text, such as \"451 4.7.1 please use the preferred mail server\"";
        if (length > LINE_TEXT_MAX)
            return "a line of text may have at most 490 characters (RFC 5321 4.5.3.1.5)";
        if (reply->line_count == REPLY_LINES_MAX)
            return "at most 8 lines are taken";
        if (!line_copy(reply->lines[reply->line_count++], text, length))
            return "only printable ASCII can be sent; lines are divided by \\n";
        if (text[length] == '\0')
            return NULL;
    }
}

static const char *take_code_and_lines(const char *text, struct reply *reply)
{
    size_t length;

    *reply = (struct reply){.code = "451"};
    if (strncmp(text, "451 ", 4) != 0)
        return "it must start with the code 451: mail is put off here, never taken and never bounced";
    text += 4;
    length = enhanced_length(text);
    if (length == 0 || text[length] != ' ')
        return "an enhanced code of class 4 must follow 451, such as \"451 4.7.1 text\"";
    memcpy(reply->enhanced, text, length);
    return lines_parse(text + length + 1, reply);
}

bool reply_parse(const char *text, struct reply *reply, const char **why)
{
    const char *fault = take_code_and_lines(text, reply);

    if (why != NULL)
        *why = fault;
    return fault == NULL;
}
