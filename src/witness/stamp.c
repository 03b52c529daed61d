#include "witness/stamp.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ZONES "/usr/share/zoneinfo/"

enum { DAY_S = 86400, YEARS_BACK = 8 /* 29 February may be that far back */ };

/* A time as it is written. */
struct reading {
    int year, month, day, hour, minute, second; /* year 0: not written; month from 1 */
    int micros;
    bool has_zone;
    int zone_s; /* east of UTC */
};

/* The hour that the last stamp was in; what does not change within it is worked out once. */
static struct {
    struct reading hour;
    int64_t reference_day, seconds;
    bool known, twice;
} last;

bool stamp_zone(const char *zone)
{
    char path[256];

    if (zone != NULL) {
        /* "CET-1CEST,M3.5.0,M10.5.0/3", as POSIX has it */
        bool is_rule = isalpha((unsigned char)*zone) && zone[strcspn(zone, "/0123456789")] >= '0';

        if (*zone == '\0' || strstr(zone, "..") != NULL || *zone == '/' ||
            (size_t)snprintf(path, sizeof path, ZONES "%s", zone) >= sizeof path ||
            (access(path, R_OK) != 0 && !is_rule && strcmp(zone, "UTC") != 0))
            return false;
        setenv("TZ", zone, 1);
    }
    tzset();
    last.known = false;
    return true;
}

/* DIGITS digits at *AT, which is moved behind them; a blank may stand for the first one. */
static bool take_number(const char **at, int digits, int *number)
{
    const char *text = *at;

    *number = 0;
    for (int i = 0; i < digits; i++) {
        if (i == 0 && text[i] == ' ' && digits == 2)
            continue;
        if (!isdigit((unsigned char)text[i]))
            return false;
        *number = *number * 10 + (text[i] - '0');
    }
    *at = text + digits;
    return true;
}

static bool take_char(const char **at, char wanted)
{
    if (**at != wanted)
        return false;
    (*at)++;
    return true;
}

static bool take_clock(const char **at, struct reading *reading)
{
    return isdigit((unsigned char)**at) && take_number(at, 2, &reading->hour) && take_char(at, ':') &&
           isdigit((unsigned char)**at) && take_number(at, 2, &reading->minute) && take_char(at, ':') &&
           isdigit((unsigned char)**at) && take_number(at, 2, &reading->second);
}

static void take_fraction(const char **at, struct reading *reading)
{
    int unit = 100000;

    if ((**at != '.' && **at != ',') || !isdigit((unsigned char)(*at)[1]))
        return;
    for ((*at)++; isdigit((unsigned char)**at); (*at)++, unit /= 10)
        reading->micros += (**at - '0') * unit;
}

/* "Z", "+01:00", "+0100"; nothing is fine too. */
static bool take_zone(const char **at, struct reading *reading)
{
    int hours, minutes, sign = **at == '-' ? -1 : 1;

    if (take_char(at, 'Z')) {
        reading->has_zone = true;
        return true;
    }
    if (**at != '+' && **at != '-')
        return true;
    (*at)++;
    if (!isdigit((unsigned char)**at) || !take_number(at, 2, &hours))
        return false;
    take_char(at, ':');
    if (!isdigit((unsigned char)**at) || !take_number(at, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    reading->has_zone = true;
    reading->zone_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool read_long(const char **at, struct reading *reading)
{
    bool by_blank;

    if (!take_number(at, 4, &reading->year) || !take_char(at, '-') || !take_number(at, 2, &reading->month) ||
        !take_char(at, '-') || !take_number(at, 2, &reading->day))
        return false;
    by_blank = **at == ' ';
    if ((!by_blank && **at != 'T') || reading->year < 1970)
        return false;
    (*at)++;
    if (!take_clock(at, reading))
        return false;
    take_fraction(at, reading);
    if (by_blank && **at == ' ' && ((*at)[1] == '+' || (*at)[1] == '-') && isdigit((unsigned char)(*at)[2]))
        (*at)++;
    return take_zone(at, reading);
}

static bool read_short(const char **at, struct reading *reading)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char name[4] = "";
    const char *found;

    memccpy(name, *at, '\0', 3);
    found = strstr(months, name);
    if (strlen(name) != 3 || found == NULL || (found - months) % 3 != 0)
        return false;
    reading->month = (int)(found - months) / 3 + 1;
    *at += 3;
    if (!take_char(at, ' ') || !take_number(at, 2, &reading->day) || !take_char(at, ' ') || !take_clock(at, reading))
        return false;
    take_fraction(at, reading);
    return true;
}

static struct tm broken_down(const struct reading *reading, int year)
{
    return (struct tm){.tm_year = year - 1900,
                       .tm_mon = reading->month - 1,
                       .tm_mday = reading->day,
                       .tm_hour = reading->hour,
                       .tm_min = reading->minute,
                       .tm_sec = reading->second == 60 ? 59 : reading->second, /* a leap second */
                       .tm_isdst = -1};
}

static bool same_clock(const struct tm *a, const struct tm *b)
{
    return a->tm_year == b->tm_year && a->tm_mon == b->tm_mon && a->tm_mday == b->tm_mday && a->tm_hour == b->tm_hour &&
           a->tm_min == b->tm_min && a->tm_sec == b->tm_sec;
}

/* Whether the clock of this zone, T seconds after 1970, shows what is in WANTED. */
static bool shows(time_t t, const struct tm *wanted)
{
    struct tm local;

    return localtime_r(&t, &local) != NULL && same_clock(&local, wanted);
}

/* READING in YEAR, as seconds since 1970; the later one where there are two.  False: it never was. */
static bool to_seconds(const struct reading *reading, int year, int64_t *seconds, bool *twice)
{
    struct tm wanted = broken_down(reading, year), got = wanted;
    time_t t;

    *twice = false;
    if (reading->has_zone) {
        *seconds = timegm(&got) - reading->zone_s;
        return same_clock(&got, &wanted);
    }
    t = mktime(&got);
    /* Zones change by whole quarters of an hour, and by less than three hours. */
    for (int shift = -3 * 3600; shift <= 3 * 3600; shift += 900)
        if (shift != 0 && shows(t + shift, &wanted)) {
            *twice = shows(t, &wanted);
            t += shift > 0 || !*twice ? shift : 0;
            break;
        }
    *seconds = t;
    return shows(t, &wanted);
}

/* The last year in which READING is not more than a day after REFERENCE_S. */
static bool infer_year(const struct reading *reading, int64_t reference_s, int64_t *seconds, bool *twice)
{
    time_t limit = (time_t)reference_s + DAY_S;
    struct tm latest;

    if (gmtime_r(&limit, &latest) == NULL)
        return false;
    for (int year = latest.tm_year + 1901, first = year - YEARS_BACK; year > first; year--) {
        bool was = to_seconds(reading, year, seconds, twice);

        if (was && *seconds <= limit)
            return true;
        if (!was && *seconds <= limit && (reading->month != 2 || reading->day != 29))
            return false; /* in the hour that the clocks pass over: no reason to go back another year */
    }
    return false;
}

static bool is_sane(const struct reading *reading)
{
    return reading->month >= 1 && reading->month <= 12 && reading->day >= 1 && reading->day <= 31 && reading->hour <= 23 &&
           reading->minute <= 59 && reading->second <= 60;
}

static bool resolve(const struct reading *reading, int64_t reference_us, int64_t *seconds, bool *twice)
{
    struct reading hour = *reading;
    int64_t day = reference_us / 1000000 / DAY_S;

    hour.minute = hour.second = hour.micros = 0;
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c): both are copies of the same making; a difference costs one more look only */
    if (!last.known || memcmp(&last.hour, &hour, sizeof hour) != 0 || last.reference_day != day) {
        struct reading end = hour;
        int64_t end_seconds;
        bool end_twice;

        end.minute = 59;
        last.known = (reading->year != 0 ? to_seconds(&hour, hour.year, &last.seconds, &last.twice)
                                         : infer_year(&hour, reference_us / 1000000, &last.seconds, &last.twice)) &&
                     (reading->year != 0 ? to_seconds(&end, hour.year, &end_seconds, &end_twice)
                                         : infer_year(&end, reference_us / 1000000, &end_seconds, &end_twice)) &&
                     end_seconds - last.seconds == 59 * 60 && end_twice == last.twice;
        last.hour = hour;
        last.reference_day = day;
    }
    if (last.known) {
        *seconds = last.seconds + reading->minute * 60 + reading->second;
        *twice = last.twice;
        return true;
    }
    return reading->year != 0 ? to_seconds(reading, reading->year, seconds, twice)
                              : infer_year(reading, reference_us / 1000000, seconds, twice);
}

const char *stamp_parse(const char *text, int64_t reference_us, struct stamp *stamp)
{
    struct reading reading;
    int64_t seconds = 0;
    bool twice = false;

    memset(&reading, 0, sizeof reading); /* compared as bytes: what is between the members too */
    if (isdigit((unsigned char)*text) ? !read_long(&text, &reading) : !read_short(&text, &reading))
        return NULL;
    if (!is_sane(&reading) || !resolve(&reading, reference_us, &seconds, &twice))
        return NULL;
    *stamp = (struct stamp){.time_us = seconds * 1000000 + reading.micros, .twice = twice};
    if (*text != '\0' && *text != ' ' && *text != '\t')
        return NULL;
    return *text == '\0' ? text : text + 1;
}
