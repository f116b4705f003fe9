/* text/jinja/time: strftime_now('%Y'): the calendar, and its conversions. */
#ifndef HYB_TEXT_JINJA_TIME_C
#define HYB_TEXT_JINJA_TIME_C
#include "format.c"

/* month 1.., Sunday 0, yearday 0.. */
typedef struct hyb_jtime {
    int64_t year;
    int month, day, hour, minute, second, weekday, yearday;
} hyb_jtime;

/* Proleptic Gregorian calendar; days are counted in years that begin in March, so that the leap day is the last one. */
static void hyb_jtime_of(int64_t seconds, hyb_jtime *t)
{
    int64_t days = seconds / 86400, rest = seconds % 86400, era, year_of_era, march_day, day_of_era, jan1;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    t->hour = (int)(rest / 3600);
    t->minute = (int)(rest / 60 % 60);
    t->second = (int)(rest % 60);
    t->weekday = (int)(((days + 4) % 7 + 7) % 7);
    days += 719468; /* since 0000-03-01 */
    era = (days >= 0 ? days : days - 146096) / 146097;
    day_of_era = days - era * 146097;
    year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    march_day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    t->month = (int)((5 * march_day + 2) / 153);
    t->day = (int)(march_day - (153 * t->month + 2) / 5 + 1);
    t->month += t->month < 10 ? 3 : -9;
    t->year = year_of_era + era * 400 + (t->month <= 2);
    jan1 = t->month <= 2 ? march_day - 306
                         : march_day + 59 + (t->year % 4 == 0 && (t->year % 100 != 0 || t->year % 400 == 0));
    t->yearday = (int)jan1;
}

/* The week of ISO 8601: weeks begin on Monday, and belong to the year that their Thursday is in. */
typedef struct hyb_jweek {
    int64_t year;
    int week;
} hyb_jweek;
static void hyb_jweek_of(const hyb_jtime *t, hyb_jweek *w)
{
    int thursday = t->yearday + 3 - (t->weekday + 6) % 7, days;
    int64_t year = t->year - (thursday < 0);
    days = 365 + (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    w->year = year;
    if (thursday < 0)
        thursday += days;
    else if (thursday >= days) {
        thursday -= days;
        w->year++;
    }
    w->week = thursday / 7 + 1;
}

static const char *const hyb_jtime_days[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                              "Thursday", "Friday", "Saturday" };
static const char *const hyb_jtime_months[] = { "January", "February", "March",     "April",   "May",      "June",
                                                "July",    "August",   "September", "October", "November", "December" };

/* What stands between % and a letter. flag: - _ 0, or 0 when there is none. */
typedef struct hyb_jtime_spec {
    char flag, modifier;
    bool upper, swap, lower;
    int64_t width;
} hyb_jtime_spec;

static const char *hyb_jtime_read(const char *p, const char *end, hyb_jtime_spec *f)
{
    memset(f, 0, sizeof *f);
    for (; p < end && *p && strchr("-_0^#", *p); p++) {
        if (*p == '^')
            f->upper = true;
        else if (*p == '#')
            f->swap = true;
        else
            f->flag = *p;
    }
    p = hyb_jspec_number(p, end, &f->width);
    if (p < end && (*p == 'E' || *p == 'O')) f->modifier = *p++;
    return p;
}

/* Text in its width and case. */
static bool hyb_jtime_put(hyb_jinja *j, hyb_jbuffer *b, const hyb_jtime_spec *f, const char *text, size_t n)
{
    int64_t room = f->width - (int64_t)n;
    size_t i;
    for (; room > 0; room--) {
        if (!hyb_jinja_put(j, b, f->flag == '0' ? "0" : " ", 1)) return false;
    }
    for (i = 0; i < n; i++) {
        char c = text[i];
        if (f->lower && c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        else if (f->upper && !f->lower && c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        if (!hyb_jinja_put(j, b, &c, 1)) return false;
    }
    return true;
}

/* A number of `least` digits at least, which fill ('0' or ' ') makes up unless a flag says otherwise, and a width, too
 * (fill 0: a width is made up with spaces). */
static bool hyb_jtime_number(hyb_jinja *j, hyb_jbuffer *b, hyb_jtime_spec *f, int64_t number, int least, char fill)
{
    char out[24];
    int n;
    if (f->flag == '_' || (fill == ' ' && f->flag != '0' && f->flag != '-')) {
        n = snprintf(out, sizeof out, "%*lld", least, (long long)number);
    } else {
        n = snprintf(out, sizeof out, "%0*lld", f->flag == '-' ? 1 : least, (long long)number);
        if (!f->flag && fill) f->flag = '0';
    }
    return hyb_jtime_put(j, b, f, out, (size_t)n);
}

/* The number that a letter stands for, its digits and what fills it; false: it stands for something else. */
static bool hyb_jtime_value(const hyb_jtime *t, int64_t now, char letter, int64_t *number, int *least, char *fill)
{
    int hour12 = t->hour % 12 ? t->hour % 12 : 12;
    hyb_jweek week;
    hyb_jweek_of(t, &week);
    *least = strchr("YuwsG", letter) ? 1 : letter == 'j' ? 3 : 2;
    *fill = strchr("ekl", letter) ? ' ' : letter == 's' ? (char)0 : '0';
    switch (letter) {
    case 'Y': *number = t->year; return true;
    case 'y': *number = t->year % 100; return true;
    case 'C': *number = t->year / 100; return true;
    case 'm': *number = t->month; return true;
    case 'd':
    case 'e': *number = t->day; return true;
    case 'H':
    case 'k': *number = t->hour; return true;
    case 'I':
    case 'l': *number = hour12; return true;
    case 'M': *number = t->minute; return true;
    case 'S': *number = t->second; return true;
    case 'j': *number = t->yearday + 1; return true;
    case 'u': *number = t->weekday ? t->weekday : 7; return true;
    case 'w': *number = t->weekday; return true;
    case 'U': *number = (t->yearday + 7 - t->weekday) / 7; return true;
    case 'W': *number = (t->yearday + 7 - (t->weekday + 6) % 7) / 7; return true;
    case 's': *number = now; return true;
    case 'G': *number = week.year; return true;
    case 'g': *number = week.year % 100; return true;
    case 'V': *number = week.week; return true;
    default: return false;
    }
}

/* The text that a letter stands for; *pattern: it is one of strftime again. NULL: it stands for none. */
static const char *hyb_jtime_text(const hyb_jtime *t, char letter, size_t *n, bool *pattern)
{
    static const char *const patterns[] = { "F%Y-%m-%d",    "T%H:%M:%S", "X%H:%M:%S", "R%H:%M",
                                            "r%I:%M:%S %p", "D%m/%d/%y", "x%m/%d/%y", "c%a %b %e %H:%M:%S %Y" };
    const char *text = NULL;
    size_t i;
    *pattern = false;
    switch (letter) {
    case 'A':
    case 'a': text = hyb_jtime_days[t->weekday]; break;
    case 'B':
    case 'b':
    case 'h': text = hyb_jtime_months[t->month - 1]; break;
    case 'p':
    case 'P': text = t->hour < 12 ? "AM" : "PM"; break;
    case 'n': text = "\n"; break;
    case 't': text = "\t"; break;
    case '%': text = "%"; break;
    case 'Z': text = ""; break;
    default:
        for (i = 0; i < HYB_COUNT(patterns); i++) {
            if (*patterns[i] == letter) text = patterns[i] + 1;
        }
        *pattern = text != NULL;
    }
    if (text) *n = letter == 'a' || letter == 'b' || letter == 'h' ? 3 : strlen(text);
    return text;
}

static bool hyb_jinja_strftime(hyb_jinja *j, hyb_jbuffer *b, const char *p, const char *end);

/* %..., its letter at p; start: its %. What is not known stays as it was written. */
static bool hyb_jtime_one(hyb_jinja *j, hyb_jbuffer *b, hyb_jtime_spec *f, const char *start, const char *p,
                          const char *end)
{
    char letter = p < end ? *p : (char)0, fill;
    const char *refused = !f->modifier ? "" : f->modifier == 'E' ? "AaBbDFGHIMSUVWdeghjklmw" : "ADFXYacx";
    bool plain = p == start + 1, known = letter && !strchr(refused, letter), pattern;
    hyb_jtime t;
    int64_t number = 0;
    size_t n = 0;
    int least;
    const char *text = NULL;
    if (f->width > 1000) return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "strftime_now: a width is too large");
    if (letter == 'f' && plain) return hyb_jinja_put(j, b, "000000", 6);
    if (letter == 'z') return true; /* there is no time zone */
    if (f->swap && letter && strchr(f->modifier ? "Bbh" : "AaBbh", letter)) f->upper = true;
    hyb_jtime_of(j->now, &t);
    if (known && hyb_jtime_value(&t, j->now, letter, &number, &least, &fill))
        return hyb_jtime_number(j, b, f, number, least, fill);
    if (known) text = hyb_jtime_text(&t, letter, &n, &pattern);
    if (!text) return hyb_jtime_put(j, b, f, start, (size_t)(p + (p < end) - start));
    f->lower = letter == 'P' || (letter == 'p' && f->swap);
    if (pattern) {
        hyb_jbuffer inner = { NULL, 0, 0 };
        return hyb_jinja_strftime(j, &inner, text, text + n) && hyb_jtime_put(j, b, f, inner.data, inner.size);
    }
    return hyb_jtime_put(j, b, f, text, n);
}

/* As strftime of glibc in the C locale, with its flags (- _ 0 ^ #), widths, E and O. */
static bool hyb_jinja_strftime(hyb_jinja *j, hyb_jbuffer *b, const char *p, const char *end)
{
    while (p < end) {
        const char *start = p;
        hyb_jtime_spec f;
        for (; p < end && *p != '%'; p++) {}
        if (p > start && !hyb_jinja_put(j, b, start, (size_t)(p - start))) return false;
        if (p == end) break;
        start = p;
        p = hyb_jtime_read(p + 1, end, &f);
        if (!hyb_jtime_one(j, b, &f, start, p, end)) return false;
        p += p < end;
    }
    return true;
}
#endif
