/* text/jinja_format: values made into text by a pattern: 'a %d' % x, 'a {}'.format(x), strftime_now('%Y'). */

/* v by a conversion of printf (f, e, g), with a decimal point whatever the locale says. */
static size_t hybrid__jformat_real(double v, char conversion, int precision, char out[400])
{
    char raw[400];
    size_t n = 0, i;
    bool other = false;
    switch (conversion) {
    case 'e': snprintf(raw, sizeof raw, "%.*e", precision, v); break;
    case 'E': snprintf(raw, sizeof raw, "%.*E", precision, v); break;
    case 'g': snprintf(raw, sizeof raw, "%.*g", precision, v); break;
    case 'G': snprintf(raw, sizeof raw, "%.*G", precision, v); break;
    default:  snprintf(raw, sizeof raw, "%.*f", precision, v); break;
    }
    for (i = 0; raw[i]; i++) {
        char c = raw[i];
        bool known = hybrid__is_digit(c) || c == '-' || c == '+' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (known) out[n++] = c;
        else if (!other) out[n++] = '.';
        other = !known;
    }
    out[n] = 0;
    return n;
}

typedef struct hybrid__jspec { char fill[4]; size_t n_fill; char align, sign, type; bool alternate, comma, given; int64_t width, precision; } hybrid__jspec;

/* Text in a field. align: '<', '>', '^', or '=': the padding comes after the sign. */
static bool hybrid__jinja_field(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jspec *f, const char *p, size_t n)
{
    hybrid__jstring s;
    int64_t room, left;
    s.p = p; s.n = n; s.chars = SIZE_MAX; s.buffer = NULL;
    room = f->width - (int64_t)hybrid__jstring_chars(&j->arena, &s);
    if (room < 0) room = 0;
    if (f->align == '=' && n && (*p == '-' || *p == '+' || *p == ' ')) {
        if (!hybrid__jinja_put(j, b, p, 1)) return false;
        p++; n--;
    }
    left = f->align == '<' ? 0 : f->align == '^' ? room / 2 : room;
    if (!hybrid__jarena_work(&j->arena, (uint64_t)room)) return hybrid__jinja_spent(j);
    for (room -= left; left > 0; left--) if (!hybrid__jinja_put(j, b, f->fill, f->n_fill)) return false;
    if (!hybrid__jinja_put(j, b, p, n)) return false;
    for (; room > 0; room--) if (!hybrid__jinja_put(j, b, f->fill, f->n_fill)) return false;
    return true;
}

/* An integer in a base, with its sign. */
static size_t hybrid__jformat_int(int64_t v, const hybrid__jspec *f, char out[100])
{
    const char *digits = f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    unsigned base = f->type == 'x' || f->type == 'X' ? 16 : f->type == 'o' ? 8 : f->type == 'b' ? 2 : 10;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    char reversed[90];
    size_t n = 0, m = 0, group = base == 10 ? 3 : 4;
    do {
        if (f->comma && m && m % (group + 1) == group) reversed[m++] = ',';
        reversed[m++] = digits[u % base];
    } while (u /= base);
    if (v < 0) out[n++] = '-';
    else if (f->sign != '-') out[n++] = f->sign;
    if (f->alternate && base != 10) { out[n++] = '0'; out[n++] = f->type; }
    while (m) out[n++] = reversed[--m];
    return n;
}

/* One value by a parsed specification. */
static bool hybrid__jinja_format_value(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jspec *f, hybrid__jvalue v)
{
    char text[420];
    size_t n;
    hybrid__jvalue s;
    bool number = hybrid__jis_number(v);
    if (f->width > 100000 || f->precision > 60) return hybrid__jinja_fail(j, HYBRID_ERROR_LIMIT, "a format asks for a width or precision that is too large");
    if (!f->align) f->align = number && f->type != 's' && f->type != 'r' ? '>' : '<';
    if (f->type && strchr("dxXobc", f->type)) {
        if (!number || (v.type == HYBRID__J_FLOAT && !(v.u.d > -9e18 && v.u.d < 9e18)))
            return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "the format %c expects an integer, not a %s", f->type, hybrid__jtype_name(v));
        if (v.type == HYBRID__J_FLOAT) v = hybrid__jint((int64_t)v.u.d);
        if (f->type != 'c') return hybrid__jinja_field(j, b, f, text, hybrid__jformat_int(hybrid__jwhole(v), f, text));
        return hybrid__jinja_field(j, b, f, text, hybrid__utf8_write((uint32_t)HYBRID__MIN((uint64_t)hybrid__jwhole(v), (uint64_t)0x110000), text));
    }
    if (f->type && strchr("feEgGF%", f->type)) {
        double d;
        if (!number) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "the format %c expects a number, not a %s", f->type, hybrid__jtype_name(v));
        d = hybrid__jreal(v) * (f->type == '%' ? 100 : 1);
        text[0] = f->sign;
        n = d >= 0 && f->sign != '-' ? 1 : 0;
        n += hybrid__jformat_real(d, f->type == '%' || f->type == 'F' ? 'f' : f->type, f->precision < 0 ? 6 : (int)f->precision, text + n);
        if (f->type == '%') text[n++] = '%';
        return hybrid__jinja_field(j, b, f, text, n);
    }
    if (f->type == 'r') {
        hybrid__jbuffer repr = { NULL, 0, 0 };
        if (!hybrid__jinja_repr(j, &repr, v) || !hybrid__jinja_text(j, &repr, &s)) return false;
    } else if (!hybrid__jinja_to_string(j, v, &s)) {
        return false;
    }
    n = s.u.s->n;
    if (f->precision >= 0 && !number && (uint64_t)f->precision < hybrid__jstring_chars(&j->arena, s.u.s)) n = hybrid__jstring_at(&j->arena, s.u.s, (size_t)f->precision);
    return hybrid__jinja_field(j, b, f, s.u.s->p, n);
}

static void hybrid__jspec_clear(hybrid__jspec *f)
{
    memset(f, 0, sizeof *f);
    f->fill[0] = ' ';
    f->n_fill = 1;
    f->sign = '-';
    f->precision = -1;
}
static const char *hybrid__jspec_number(const char *p, const char *end, int64_t *v)
{
    for (*v = 0; p < end && hybrid__is_digit(*p); p++) if (*v < 1000000) *v = *v * 10 + (*p - '0');
    return p;
}

/* 'text' % values: values is a tuple, a dict for %(name)s, or one value. */
static bool hybrid__jinja_percent(hybrid__jinja *j, const hybrid__jstring *pattern, hybrid__jvalue values, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    bool tuple = values.type == HYBRID__J_LIST && values.u.list->kind == HYBRID__J_TUPLE;
    size_t used = 0, n = tuple ? values.u.list->n : 1;
    const char *p = pattern->p, *end = p + pattern->n, *q;
    while (p < end) {
        hybrid__jspec f;
        hybrid__jvalue v;
        for (q = p; q < end && *q != '%'; q++) {}
        if (!hybrid__jinja_put(j, &b, p, (size_t)(q - p))) return false;
        if (q == end) break;
        hybrid__jspec_clear(&f);
        v = hybrid__jnone();
        v.type = HYBRID__J_MISSING;
        if ((p = q + 1) < end && *p == '(') {
            hybrid__jvalue key;
            const hybrid__jentry *e;
            for (q = ++p; q < end && *q != ')'; q++) {}
            if (q == end || values.type != HYBRID__J_DICT) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%%(name) needs a closing bracket and a dict");
            if (!hybrid__jinja_view(j, p, (size_t)(q - p), &key)) return false;
            if (!(e = hybrid__jdict_find(&j->arena, values.u.dict, key))) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%%(%.*s): the dict has no such key", (int)HYBRID__MIN(q - p, 60), p);
            v = e->value;
            n = used;
            p = q + 1;
        }
        for (; p < end && *p && strchr("-+ 0#", *p); p++) {
            if (*p == '-') f.align = '<';
            else if (*p == '0') { if (!f.align) { f.align = '='; f.fill[0] = '0'; } }
            else if (*p == '#') f.alternate = true;
            else f.sign = *p;
        }
        p = hybrid__jspec_number(p, end, &f.width);
        if (p < end && *p == '.') p = hybrid__jspec_number(p + 1, end, &f.precision);
        if (p == end) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a format ends in the middle of a %%-sequence");
        f.type = *p == 'i' || *p == 'u' ? 'd' : *p;
        p++;
        if (f.type == '%') { if (!hybrid__jinja_put(j, &b, "%", 1)) return false; continue; }
        if (!strchr("srdxXocfFeEgG", f.type)) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "there is no format character '%c'", f.type >= 32 ? f.type : '?');
        if (v.type == HYBRID__J_MISSING) {
            if (used >= n) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "there are fewer values than the format needs");
            v = tuple ? values.u.list->items[used] : values;
            used++;
        }
        if (!f.align) f.align = '>';
        if (f.type == 's' || f.type == 'r') { f.fill[0] = ' '; if (f.align == '=') f.align = '>'; }
        if (!hybrid__jinja_format_value(j, &b, &f, v)) return false;
    }
    if (used < n && values.type != HYBRID__J_DICT) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "there are more values than the format needs");
    return hybrid__jinja_text(j, &b, out);
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static bool hybrid__jinja_spec(hybrid__jinja *j, const char *p, const char *end, hybrid__jspec *f)
{
    uint32_t code;
    size_t n;
    hybrid__jspec_clear(f);
    n = p < end ? hybrid__utf8_next(p, end, &code) : 0;
    if (n && p + n < end && p[n] && strchr("<>^=", p[n])) { memcpy(f->fill, p, n); f->n_fill = n; f->align = p[n]; p += n + 1; }
    else if (p < end && *p && strchr("<>^=", *p)) f->align = *p++;
    if (p < end && *p && strchr("+- ", *p)) f->sign = *p++;
    if (p < end && *p == '#') { f->alternate = true; p++; }
    if (p < end && *p == '0') { if (!f->align) { f->align = '='; f->fill[0] = '0'; f->n_fill = 1; } p++; }
    p = hybrid__jspec_number(p, end, &f->width);
    if (p < end && *p == ',') { f->comma = true; p++; }
    if (p < end && *p == '.') p = hybrid__jspec_number(p + 1, end, &f->precision);
    if (p < end && *p && strchr("sdxXobcfFeEgG%", *p)) f->type = *p++;
    return p == end || hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "format: this specification of a field is not supported");
}

/* '{} {0} {name:>5}'.format(...). Attributes and indices inside of the braces are not supported. */
static bool hybrid__jm_format(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n, *q;
    size_t next = 0, i;
    bool automatic = false, numbered = false;
    while (p < end) {
        hybrid__jspec f;
        const char *name, *name_end;
        hybrid__jvalue v = hybrid__jnone();
        int64_t index;
        for (q = p; q < end && *q != '{' && *q != '}'; q++) {}
        if (!hybrid__jinja_put(j, &b, p, (size_t)(q - p))) return false;
        if (q == end) break;
        if (q + 1 < end && q[1] == *q) { if (!hybrid__jinja_put(j, &b, q, 1)) return false; p = q + 2; continue; }
        if (*q == '}') return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "format: a single '}'");
        for (name = p = q + 1; p < end && *p != '}' && *p != ':' && *p != '!'; p++) {}
        name_end = p;
        hybrid__jspec_clear(&f);
        if (p + 1 < end && *p == '!') { f.given = p[1] == 'r'; p += 2; }
        for (q = p; q < end && *q != '}'; q++) {}
        if (q == end) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "format: '}' is missing");
        {
            bool repr = f.given;
            if (p < q && *p == ':' && !hybrid__jinja_spec(j, p + 1, q, &f)) return false;
            if (repr) f.type = 'r';
        }
        v.type = HYBRID__J_MISSING;
        if (name == name_end || hybrid__is_digit(*name)) {
            automatic = automatic || name == name_end;
            numbered = numbered || name < name_end;
            if (name == name_end) index = (int64_t)next++;
            else if (hybrid__jspec_number(name, name_end, &index) != name_end) index = INT64_MAX;
            if (index < (int64_t)c->args->n) v = c->args->v[index];
        } else {
            for (i = 0; i < c->args->n_named; i++)
                if (c->args->names[i]->n == (size_t)(name_end - name) && !memcmp(c->args->names[i]->p, name, c->args->names[i]->n)) v = c->args->named[i];
        }
        if (automatic && numbered) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "format: {} and {0} cannot be mixed");
        if (!f.type && v.type == HYBRID__J_INT) f.type = 'd';
        if (v.type == HYBRID__J_MISSING) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "format: no argument for {%.*s}", (int)HYBRID__MIN(name_end - name, 60), name);
        if (!hybrid__jinja_format_value(j, &b, &f, v)) return false;
        p = q + 1;
    }
    return hybrid__jinja_text(j, &b, out);
}

/* ---- time ---- */

typedef struct hybrid__jtime { int64_t year; int month, day, hour, minute, second, weekday, yearday; } hybrid__jtime;   /* month 1.., Sunday 0, yearday 0.. */

/* Proleptic Gregorian calendar; days are counted in years that begin in March, so that the leap day is the last one. */
static void hybrid__jtime_of(int64_t seconds, hybrid__jtime *t)
{
    int64_t days = seconds / 86400, rest = seconds % 86400, era, year_of_era, march_day, day_of_era, jan1;
    if (rest < 0) { rest += 86400; days--; }
    t->hour = (int)(rest / 3600);
    t->minute = (int)(rest / 60 % 60);
    t->second = (int)(rest % 60);
    t->weekday = (int)(((days + 4) % 7 + 7) % 7);
    days += 719468;                                          /* since 0000-03-01 */
    era = (days >= 0 ? days : days - 146096) / 146097;
    day_of_era = days - era * 146097;
    year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    march_day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    t->month = (int)((5 * march_day + 2) / 153);
    t->day = (int)(march_day - (153 * t->month + 2) / 5 + 1);
    t->month += t->month < 10 ? 3 : -9;
    t->year = year_of_era + era * 400 + (t->month <= 2);
    jan1 = t->month <= 2 ? march_day - 306 : march_day + 59 + (t->year % 4 == 0 && (t->year % 100 != 0 || t->year % 400 == 0));
    t->yearday = (int)jan1;
}

static const char *const hybrid__jtime_days[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
static const char *const hybrid__jtime_months[] = { "January", "February", "March", "April", "May", "June", "July", "August",
    "September", "October", "November", "December" };

/* As strftime in the C locale. %-d and the like drop the leading zero. Unknown letters stay as they are. */
static bool hybrid__jinja_strftime(hybrid__jinja *j, hybrid__jbuffer *b, const char *p, const char *end)
{
    hybrid__jtime t;
    hybrid__jtime_of(j->now, &t);
    for (; p < end; p++) {
        const char *text = NULL, *again = NULL;
        int64_t number = 0;
        int width = 2, hour12 = t.hour % 12 ? t.hour % 12 : 12;
        char fill = '0', out[24];
        bool bare = false;
        if (*p != '%' || p + 1 == end) { if (!hybrid__jinja_put(j, b, p, 1)) return false; continue; }
        p++;
        if (*p == '-' && p + 1 < end) { bare = true; p++; }
        switch (*p) {
        case 'Y': number = t.year; width = 1; break;
        case 'y': number = t.year % 100; break;
        case 'C': number = t.year / 100; break;
        case 'm': number = t.month; break;
        case 'd': number = t.day; break;
        case 'e': number = t.day; fill = ' '; break;
        case 'H': number = t.hour; break;
        case 'k': number = t.hour; fill = ' '; break;
        case 'I': number = hour12; break;
        case 'l': number = hour12; fill = ' '; break;
        case 'M': number = t.minute; break;
        case 'S': number = t.second; break;
        case 'f': number = 0; width = 6; break;
        case 'j': number = t.yearday + 1; width = 3; break;
        case 'u': number = t.weekday ? t.weekday : 7; width = 1; break;
        case 'w': number = t.weekday; width = 1; break;
        case 'U': number = (t.yearday + 7 - t.weekday) / 7; break;
        case 'W': number = (t.yearday + 7 - (t.weekday + 6) % 7) / 7; break;
        case 's': number = j->now; width = 1; break;
        case 'A': text = hybrid__jtime_days[t.weekday]; break;
        case 'B': text = hybrid__jtime_months[t.month - 1]; break;
        case 'a': case 'b': case 'h':
            memcpy(out, *p == 'a' ? hybrid__jtime_days[t.weekday] : hybrid__jtime_months[t.month - 1], 3);
            out[3] = 0;
            text = out;
            break;
        case 'p': text = t.hour < 12 ? "AM" : "PM"; break;
        case 'P': text = t.hour < 12 ? "am" : "pm"; break;
        case 'n': text = "\n"; break;
        case 't': text = "\t"; break;
        case '%': text = "%"; break;
        case 'Z': case 'z': text = ""; break;
        case 'F': again = "%Y-%m-%d"; break;
        case 'T': case 'X': again = "%H:%M:%S"; break;
        case 'R': again = "%H:%M"; break;
        case 'r': again = "%I:%M:%S %p"; break;
        case 'D': case 'x': again = "%m/%d/%y"; break;
        case 'c': again = "%a %b %e %H:%M:%S %Y"; break;
        default: out[0] = '%'; out[1] = *p; out[2] = 0; text = out; break;
        }
        if (again) { if (!hybrid__jinja_strftime(j, b, again, again + strlen(again))) return false; continue; }
        if (!text) {
            if (fill == '0') snprintf(out, sizeof out, "%0*lld", bare ? 1 : width, (long long)number);
            else snprintf(out, sizeof out, "%*lld", bare ? 1 : width, (long long)number);
            text = out;
        }
        if (!hybrid__jinja_puts(j, b, text)) return false;
    }
    return true;
}
