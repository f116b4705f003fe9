/* libnvrtc.so.13: hands kernels to the host compiler. A program is preprocessed by itself, its __global__, extern
 * __shared__ and __device__ variables are found in the result, and it is compiled behind shim.h into a shared
 * library: the "cubin". */
#include "abi.h"
#include "common.h"
#include <dirent.h>
#include <cstddef>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

enum {
    OK = 0,
    OUT_OF_MEMORY = 1,
    INVALID_INPUT = 3,
    INVALID_PROGRAM = 4,
    INVALID_OPTION = 5,
    COMPILATION = 6,
    INTERNAL = 11
};
static const int archs[] = { 75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121 };

struct Program {
    std::string source, name, log, image;
    bool ptx = false, patched = false;
    unsigned arch = 75;
};

EMU_API const char *nvrtcGetErrorString(int r)
{
    switch (r) {
    case OK: return "NVRTC_SUCCESS";
    case OUT_OF_MEMORY: return "NVRTC_ERROR_OUT_OF_MEMORY";
    case 2: return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
    case INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
    case INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
    case INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
    case COMPILATION: return "NVRTC_ERROR_COMPILATION";
    case 7: return "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE";
    case INTERNAL: return "NVRTC_ERROR_INTERNAL_ERROR";
    default: return "NVRTC_ERROR unknown";
    }
}
EMU_API int nvrtcVersion(int *major, int *minor)
{
    if (int e = emu_injected(__func__, INTERNAL)) return e;
    *major = 13;
    *minor = 0;
    return OK;
}
EMU_API int nvrtcGetNumSupportedArchs(int *n)
{
    *n = (int)(sizeof archs / sizeof *archs);
    return OK;
}
EMU_API int nvrtcGetSupportedArchs(int *out)
{
    memcpy(out, archs, sizeof archs);
    return OK;
}

static bool read_file(const std::string &path, std::string *out);
static bool write_file(const std::string &path, const std::string &text);

/* EMU_PATCH=file: its first part, up to a line "=>", is replaced by the rest wherever a program has it. `file`.seen
 * says that one had, `file`.broken that such a one did not compile. The cache here goes by the text, so that a
 * patched program is never taken for the other. */
static bool patch(std::string *source)
{
    const char *path = getenv("EMU_PATCH");
    std::string text;
    if (!path || !*path || !read_file(path, &text)) return false;
    size_t middle = text.find("\n=>\n");
    if (middle == std::string::npos) return false;
    std::string from = text.substr(0, middle), to = text.substr(middle + 4);
    size_t at = source->find(from);
    if (at == std::string::npos) return false;
    for (; at != std::string::npos; at = source->find(from, at + to.size())) source->replace(at, from.size(), to);
    return write_file(std::string(path) + ".seen", "");
}

EMU_API int nvrtcCreateProgram(void **out, const char *source, const char *name, int n_headers, const char *const *,
                               const char *const *)
{
    if (int e = emu_injected(__func__, OUT_OF_MEMORY)) return e;
    if (!out || !source || n_headers) return INVALID_INPUT;
    Program *p = new Program;
    p->source = source;
    p->patched = patch(&p->source);
    p->name = name && *name ? name : "default_program";
    *out = p;
    return OK;
}
EMU_API int nvrtcDestroyProgram(void **p)
{
    if (!p || !*p) return INVALID_PROGRAM;
    delete (Program *)*p;
    *p = nullptr;
    return OK;
}
EMU_API int nvrtcGetProgramLogSize(void *p, size_t *n)
{
    if (!p) return INVALID_PROGRAM;
    *n = ((Program *)p)->log.size() + 1;
    return OK;
}
EMU_API int nvrtcGetProgramLog(void *p, char *s)
{
    if (!p) return INVALID_PROGRAM;
    memcpy(s, ((Program *)p)->log.c_str(), ((Program *)p)->log.size() + 1);
    return OK;
}

/* ---- tokens of preprocessed text --------------------------------------------------------------------------------- */
/* kind: i identifier or number, s string, p one character of punctuation */
struct Token {
    size_t at, end;
    char kind;
};
static std::vector<Token> scan(const std::string &s)
{
    std::vector<Token> out;
    auto word = [](char c) { return isalnum((unsigned char)c) || c == '_'; };
    for (size_t i = 0; i < s.size();) {
        /* line marks, pragmas */
        if (s[i] == '#' && (i == 0 || s[i - 1] == '\n')) {
            while (i < s.size() && s[i] != '\n') i++;
            continue;
        }
        if (isspace((unsigned char)s[i])) {
            i++;
            continue;
        }
        size_t from = i;
        if (word(s[i])) {
            while (i < s.size() && (word(s[i]) || (s[i] == '\'' && isalnum((unsigned char)s[i + 1])))) i++;
            out.push_back({ from, i, 'i' });
        } else if (s[i] == '"' || s[i] == '\'') {
            char q = s[i++];
            while (i < s.size() && s[i] != q) i += s[i] == '\\' ? 2 : 1;
            out.push_back({ from, ++i, 's' });
        } else
            out.push_back({ from, ++i, 'p' });
    }
    return out;
}

struct Rewriter {
    const std::string &s;
    std::vector<Token> t;
    std::string out, kernels, globals;
    size_t copied = 0;
    explicit Rewriter(const std::string &text) : s(text), t(scan(text)) {}
    std::string text(size_t i) const { return i < t.size() ? s.substr(t[i].at, t[i].end - t[i].at) : std::string(); }
    bool is(size_t i, const char *x) const { return i < t.size() && s.compare(t[i].at, t[i].end - t[i].at, x) == 0; }
    size_t behind_parentheses(size_t i) const
    { /* i at "(": the token behind the matching ")" */
        int depth = 0;
        for (; i < t.size(); i++) {
            if (is(i, "(")) depth++;
            if (is(i, ")") && --depth == 0) return i + 1;
        }
        return i;
    }
    void replace(size_t from, size_t to, const std::string &by)
    {
        out.append(s, copied, t[from].at - copied);
        out += by;
        copied = t[to].end;
    }

    /* __global__ … __launch_bounds__(n, m) … void name( … ) { */
    void kernel(size_t i)
    {
        std::string bounds = "0";
        for (size_t k = i + 1; k + 1 < t.size(); k++) {
            if (is(k, "__launch_bounds__")) {
                size_t end = behind_parentheses(k + 1), stop = k + 2;
                for (int depth = 0; stop < end - 1; stop++) {
                    if (is(stop, "(")) depth++;
                    if (is(stop, ")")) depth--;
                    if (is(stop, ",") && depth == 0) break;
                }
                bounds = "(int)(" + s.substr(t[k + 2].at, t[stop].at - t[k + 2].at) + ")";
                k = end - 1;
            } else if (is(k, "__attribute__"))
                k = behind_parentheses(k + 1) - 1;
            else if (t[k].kind == 'i' && is(k + 1, "(")) {
                if (is(behind_parentheses(k + 1), "{")) kernels += "EMU_KERNEL(" + text(k) + ", " + bounds + ")\n";
                return;
            }
        }
    }
    /* extern __shared__ [attributes] T name[]; → a pointer to the block's dynamic memory */
    size_t dynamic_shared(size_t i, bool in_function)
    {
        size_t first = i + 2, end = first;
        while (end < t.size() && !is(end, ";")) end++;
        std::string type;
        size_t name = first;
        for (size_t k = first; k < end; k++) {
            if (is(k, "__align__") || is(k, "alignas") || is(k, "__attribute__")) {
                k = behind_parentheses(k + 1) - 1;
                continue;
            }
            if (is(k + 1, "[")) {
                name = k;
                break;
            }
            type += text(k) + " ";
        }
        if (in_function)
            replace(i, end, type + "*const " + text(name) + " = (" + type + "*)emu_now.dynamic;");
        else
            replace(i, end, "static " + type + "*&" + text(name) + " = *(" + type + "**)&emu_now.dynamic;");
        return end;
    }
    void variable(size_t i)
    { /* __device__/__constant__ T name …; at file scope, not a function */
        bool constant = i && is(i - 1, "const");
        for (size_t k = i + 1; k + 1 < t.size(); k++) {
            if (is(k, "__align__") || is(k, "alignas") || is(k, "__attribute__") || is(k, "__launch_bounds__")) {
                k = behind_parentheses(k + 1) - 1;
                continue;
            }
            if (is(k + 1, "(") || is(k, "{") || is(k, "__global__") || is(k, "operator") || is(k, "struct")) return;
            if (is(k, "const") || is(k, "constexpr")) constant = true;
            if (is(k + 1, "[") || is(k + 1, "=") || is(k + 1, ";") || is(k + 1, "{")) {
                if (!constant) replace(i, i, "EMU_DEVICE_VARIABLE");
                globals += "EMU_GLOBAL(" + text(k) + ")\n";
                return;
            }
        }
    }
    /* (const float4 *)x, reinterpret_cast<float4 *>(x): vectors must be aligned, though this processor would not
     * mind */
    static bool is_vector(const std::string &s)
    {
        size_t n = s.size();
        if (n < 4 || (s[n - 1] != '2' && s[n - 1] != '4')) return false;
        for (const char *name :
             { "float", "int", "uint", "short", "ushort", "uchar", "char", "double", "longlong", "ulonglong" })
            if (s.compare(0, n - 1, name) == 0) return true;
        return false;
    }
    size_t operand_end(size_t i) const
    { /* behind the operand of a cast: prefix operators, one thing, its postfixes */
        while (is(i, "*") || is(i, "&") || is(i, "-") || is(i, "~") || is(i, "!")) i++;
        if (is(i, "(")) {
            size_t end = behind_parentheses(i);
            /* another cast */
            if (is(end - 2, "*") || (i < t.size() && end < t.size() && t[end].kind == 'i')) return operand_end(end);
            i = end;
        } else
            i++;
        for (;;) {
            if (is(i, "("))
                i = behind_parentheses(i);
            else if (is(i, "[")) {
                int depth = 0;
                do {
                    depth += is(i, "[") - is(i, "]");
                    i++;
                } while (depth && i < t.size());
            } else if (is(i, "."))
                i += 2;
            else if (is(i, "-") && is(i + 1, ">"))
                i += 3;
            else
                return i;
        }
    }
    void vector_cast(size_t i)
    { /* i at "(" of "([const] T *)": the operand is wrapped in a check */
        size_t k = i + 1;
        while (is(k, "const") || is(k, "volatile")) k++;
        if (k >= t.size() || !is_vector(text(k))) return;
        std::string type = text(k++);
        while (is(k, "const")) k++;
        if (!is(k, "*")) return;
        while (is(k, "*") || is(k, "const") || is(k, "__restrict__")) k++;
        if (!is(k, ")") || k + 1 >= t.size() || is(k - 2, "*") || is(k + 1, ",") || is(k + 1, ";") || is(k + 1, ")"))
            return;
        size_t end = operand_end(k + 1);
        opened[k + 1] += "emu_aligned<" + type + ">(";
        closed[end - 1] += ")";
    }
    std::map<size_t, std::string> opened, closed; /* text before and behind tokens */
    void run()
    {
        std::vector<bool> function_scope; /* of each open brace */
        for (size_t i = 0; i < t.size(); i++) {
            bool in_function = !function_scope.empty() && function_scope.back();
            if (is(i, "{")) {
                bool outer = i && (t[i - 1].kind == 's' || is(i - 1, "namespace") || (i > 1 && is(i - 2, "namespace")));
                function_scope.push_back(in_function || !outer);
            } else if (is(i, "}")) {
                if (!function_scope.empty()) function_scope.pop_back();
            } else if (is(i, "__global__"))
                kernel(i);
            else if (is(i, "(") && in_function)
                vector_cast(i);
            else if (is(i, "extern") && is(i + 1, "__shared__"))
                i = dynamic_shared(i, in_function);
            else if (!in_function && (is(i, "__constant__") || (is(i, "__device__") && !is(i + 1, "__constant__"))))
                variable(i);
        }
        out.append(s, copied, std::string::npos);
    }
    /* The casts, in a second pass over the result of the first */
    std::string with_checks()
    {
        std::string r;
        size_t from = 0;
        for (size_t i = 0; i < t.size(); i++) {
            auto a = opened.find(i), b = closed.find(i);
            if (a == opened.end() && b == closed.end()) continue;
            r.append(s, from, t[i].at - from);
            if (a != opened.end()) r += a->second;
            r.append(s, t[i].at, t[i].end - t[i].at);
            if (b != closed.end()) r += b->second;
            from = t[i].end;
        }
        return r.append(s, from, std::string::npos);
    }
};

/* ---- files and processes ----------------------------------------------------------------------------------------- */
static bool read_file(const std::string &path, std::string *out)
{
    FILE *f = fopen(path.c_str(), "rb");
    if (!f) return false;
    char block[65536];
    size_t n;
    out->clear();
    while ((n = fread(block, 1, sizeof block, f)) > 0) out->append(block, n);
    fclose(f);
    return true;
}
static bool write_file(const std::string &path, const std::string &text)
{
    FILE *f = fopen(path.c_str(), "wb");
    if (!f) return false;
    bool ok = fwrite(text.data(), 1, text.size(), f) == text.size();
    return fclose(f) == 0 && ok;
}
static int run(const std::vector<std::string> &words, const std::string &log)
{ /* stdout and stderr go to `log` */
    pid_t child = fork();
    if (child == 0) {
        int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        std::vector<char *> argv;
        for (const std::string &w : words) argv.push_back((char *)w.c_str());
        argv.push_back(nullptr);
        dup2(fd, 1);
        dup2(fd, 2);
        unsetenv("LD_LIBRARY_PATH");
        unsetenv("LD_PRELOAD");
        execvp(argv[0], argv.data());
        _exit(127);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
static std::string folder()
{ /* of this library: shim.h and libcuda.so.1 lie beside it */
    Dl_info info;
    if (!dladdr((void *)folder, &info)) return ".";
    char *real = realpath(info.dli_fname, nullptr);
    std::string path = real ? real : info.dli_fname;
    free(real);
    return path.substr(0, path.rfind('/'));
}
static uint64_t hash(const std::string &s, uint64_t h = 1469598103934665603ull)
{
    for (unsigned char c : s) h = (h ^ c) * 1099511628211ull;
    return h;
}

static bool can_run(const char *compiler)
{
    const char *path = getenv("PATH");
    for (std::string rest = path ? path : "/usr/bin"; !rest.empty();) {
        size_t n = rest.find(':');
        if (access((rest.substr(0, n) + "/" + compiler).c_str(), X_OK) == 0) return true;
        rest = n == std::string::npos ? "" : rest.substr(n + 1);
    }
    return false;
}
static std::string compiler()
{
    const char *wish = getenv("EMU_COMPILER");
    if (wish && *wish) return wish;
    return can_run("clang++") ? "clang++" : "g++";
}

static bool is_clang(const std::string &compiler, const std::string &log)
{
    static std::mutex lock;
    static std::map<std::string, bool> known; /* asked once */
    std::lock_guard<std::mutex> hold(lock);
    auto it = known.find(compiler);
    if (it != known.end()) return it->second;
    std::string text;
    return known[compiler] = run({ compiler, "--version" }, log) == 0 && read_file(log, &text) &&
                             text.find("clang") != std::string::npos;
}

/* ---- options: those that our library may pass; anything else is an error, as with NVRTC -------------------------- */
static int options(Program *p, int n, const char *const *opts, std::vector<std::string> *defines)
{
    for (int i = 0; i < n; i++) {
        std::string o = opts[i];
        auto value = [&](const char *name) -> const char * {
            size_t k = strlen(name);
            return o.compare(0, k, name) == 0 ? opts[i] + k : nullptr;
        };
        const char *v;
        if ((v = value("--gpu-architecture=")) || (v = value("-arch="))) {
            bool real = !strncmp(v, "sm_", 3), virtual_ = !strncmp(v, "compute_", 8), found = false;
            p->arch = (unsigned)atoi(v + (real ? 3 : 8));
            for (int a : archs) found = found || (unsigned)a == p->arch;
            if (!(real || virtual_) || !found) {
                p->log = "nvrtc: error: invalid value for --gpu-architecture (-arch)\n";
                return INVALID_OPTION;
            }
            p->ptx = virtual_;
        } else if (!strncmp(opts[i], "-D", 2) && opts[i][2])
            defines->push_back(o);
        else if ((v = value("--define-macro=")))
            defines->push_back(std::string("-D") + v);
        else if (value("--std=") || value("-std=") || o == "-w" || value("--diag-suppress=") ||
                 value("-diag-suppress=") || o == "--use_fast_math" || o == "-use_fast_math" ||
                 o == "-default-device" || o == "--device-as-default-execution-space" || value("--maxrregcount=") ||
                 value("--ptxas-options=") || value("-I") || value("--fmad=") || o == "-lineinfo" ||
                 o == "--generate-line-info" || value("--extra-device-vectorization") || value("--minimal") ||
                 value("--no-cache") || value("--split-compile") || value("--restrict") || value("--ftz=") ||
                 value("--prec-div=") || value("--prec-sqrt=") || value("--Ofast-compile=")) {
        } else {
            p->log = "nvrtc: error: unrecognized option " + o + "\n";
            return INVALID_OPTION;
        }
    }
    return OK;
}

static std::string image_of(unsigned arch, bool check, std::string library)
{
    Elf64_Word flags = EMU_FLAGS | (check ? 1u << 12 : 0u) | arch;
    memcpy(&library[offsetof(Elf64_Ehdr, e_flags)], &flags, sizeof flags);
    return library;
}

/* name:2:20: error: … → name(2): error: …, as NVRTC writes it, and the number of errors */
static std::string log_of(const std::string &log, const std::string &name)
{
    std::string out;
    int errors = 0;
    for (size_t at = 0, end; at < log.size(); at = end) {
        end = log.find('\n', at);
        end = end == std::string::npos ? log.size() : end + 1;
        std::string line = log.substr(at, end - at);
        size_t n = line.find(name + ":"), digits = n == std::string::npos ? n : n + name.size() + 1, stop = digits;
        if (n != std::string::npos && isdigit((unsigned char)line[digits])) {
            while (isdigit((unsigned char)line[stop])) stop++;
            size_t rest = stop + 1;
            while (rest < line.size() && isdigit((unsigned char)line[rest])) rest++;
            if (line[stop] == ':')
                line = name + "(" + line.substr(digits, stop - digits) + ")" +
                       (rest > stop + 1 ? line.substr(rest) : line.substr(stop));
        }
        errors += line.find("error:") != std::string::npos;
        if (line.find(" generated.") == std::string::npos) out += line;
    }
    if (errors)
        out += "\n" + std::to_string(errors) + (errors == 1 ? " error" : " errors") +
               " detected in the compilation of \"" + name + "\".\n";
    return out;
}

static std::string literal(const std::string &text)
{ /* as C strings, a line each */
    std::string out = "\"";
    for (char c : text) {
        if (c == '\n') {
            out += "\\n\"\n\"";
            continue;
        }
        if (c == '"' || c == '\\') out += '\\';
        out += c == '\r' || c == '\t' ? ' ' : c;
    }
    return out + "\"";
}

static std::string preprocessed(Program *p, const std::string &cxx, const std::vector<std::string> &defines,
                                const std::string &work, const std::string &name)
{
    std::string text;
    write_file(work + "/source", "#line 1 \"" + name + "\"\n" + p->source);
    std::vector<std::string> words = { cxx, "-E", "-x", "c++", "-std=c++17", "-w", "-nostdinc" };
    words.insert(words.end(), defines.begin(), defines.end());
    for (const std::string &w :
         { std::string("-DHYBRID_EMULATOR=1"), std::string("-D__CUDACC__=1"), std::string("-D__CUDACC_RTC__=1"),
           std::string("-D__NVCC__=1"), "-D__CUDA_ARCH__=" + std::to_string(p->arch * 10),
           std::string("-D__CUDACC_VER_MAJOR__=13"), std::string("-D__CUDACC_VER_MINOR__=0"), work + "/source",
           std::string("-o"), work + "/pre.ii" })
        words.push_back(w);
    if (run(words, work + "/log") != 0) {
        read_file(work + "/log", &p->log);
        p->log = log_of(p->log, name);
        return "";
    }
    read_file(work + "/pre.ii", &text);
    return text + "\n";
}

/* The whole translation unit: shim, kernels with our changes, the table of their names. */
static std::string unit_of(const std::string &text, const std::string &source)
{
    Rewriter casts(text);
    casts.run();
    std::string checked = casts.with_checks();
    Rewriter r(checked);
    r.run();
    return "#include \"shim.h\"\n#define alignas(n) __attribute__((aligned(n)))\nnamespace {\n" + r.out +
           "\n#line 1 \"registration\"\n#undef alignas\n"
           "static const emu_kernel emu_kernels[] = {\n" +
           r.kernels +
           "{0, 0, 0, 0, 0, 0} };\n"
           "static const emu_global emu_globals[] = {\n" +
           r.globals + "{0, 0, 0} };\nstatic const char emu_text[] =\n" + literal(source) +
           ";\n}\n"
           "extern \"C\" __attribute__((visibility(\"default\"))) const emu_module emu_this_module = { EMU_ABI, "
           "(int)(sizeof emu_kernels / sizeof *emu_kernels) - 1,\n"
           "    (int)(sizeof emu_globals / sizeof *emu_globals) - 1, emu_kernels, emu_globals, EMU_SHARED, emu_text "
           "};\n";
}

static std::vector<std::string> compiler_flags(bool clang, bool check, bool fma)
{
    /* clang-format off */
    std::vector<std::string> flags = {
       "-x", "c++", "-std=c++17", "-w", "-fPIC", "-c", "-ffp-contract=fast", "-fno-strict-aliasing", "-fwrapv",
        "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-fno-trapping-math",
        "-fno-stack-protector", "-fno-threadsafe-statics", "-U_FORTIFY_SOURCE", clang ? "-gline-tables-only" : "-g1"
    };
    /* clang-format on */
    if (!clang) flags.push_back("-fno-gnu-unique");
    if (fma) flags.push_back("-march=haswell");
    /* -O2 takes a third longer, and most of these programs run for less time than it takes to compile them; g++ -O2
     * merges neighbouring loads before it instruments them */
    flags.push_back("-O1");
    if (!check) return flags;
    flags.push_back("-fsanitize=thread");
    flags.push_back(clang ? "-fsanitize=alignment,array-bounds" : "-fsanitize=alignment,bounds");
    /* Accesses of more than 16 bytes are not instrumented: what they write would count as uninitialised. */
    if (clang)
        for (const char *f : { "-mllvm", "-tsan-instrument-func-entry-exit=0", "-fno-slp-vectorize", "-fno-vectorize" })
            flags.push_back(f);
    return flags;
}

/* Of processes that want the same program at a time one compiles it; the others wait, and find it in the cache. */
struct Turn {
    std::string path;
    int fd;
    explicit Turn(const std::string &file) : path(file), fd(open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666))
    {
        if (fd >= 0) flock(fd, LOCK_EX);
    }
    ~Turn()
    {
        if (fd < 0) return;
        unlink(path.c_str());
        close(fd);
    }
};

static int build(Program *p, const std::vector<std::string> &defines, const std::string &work)
{
    bool check = emu_env("EMU_CHECK", 0) != 0;
    std::string home = folder(), cxx = compiler(), log = work + "/log", shim, abi, cpu, library;
    if (!read_file(home + "/shim.h", &shim) || !read_file(home + "/abi.h", &abi)) {
        p->log = "emu: no shim.h beside libnvrtc.so.13 in " + home + "\n";
        return INTERNAL;
    }
    read_file("/proc/cpuinfo", &cpu);
    bool fma = cpu.find(" f16c") != std::string::npos && cpu.find(" avx2") != std::string::npos &&
               cpu.find(" fma") != std::string::npos;

    std::string key =
        p->source + p->name + shim + abi + cxx + std::to_string(p->arch) + (check ? "check" : "") + (fma ? "fma" : "");
    for (const std::string &d : defines) key += d + "\n";
    char file[64];
    snprintf(file, sizeof file, "/%016llx%016llx.so", (unsigned long long)hash(key),
             (unsigned long long)hash(key, 88172645463325252ull));
    std::string cache = getenv("EMU_CACHE") ? getenv("EMU_CACHE") : home + "/cache";
    if (read_file(cache + file, &library)) {
        p->image = image_of(p->arch, check, library);
        return OK;
    }

    mkdir(cache.c_str(), 0777);
    Turn turn(cache + file + ".lock");
    if (read_file(cache + file, &library)) {
        p->image = image_of(p->arch, check, library);
        return OK;
    }

    std::string name = p->name;
    for (char &c : name)
        if (c == '/' || c == '"' || c == '\\') c = '_';
    std::string text = preprocessed(p, cxx, defines, work, name);
    if (text.empty()) {
        if (p->log.empty()) p->log = "emu: no compiler \"" + cxx + "\"\n";
        return COMPILATION;
    }
    std::vector<std::string> words = compiler_flags(is_clang(cxx, log), check, fma);
    const std::string file_of_unit = work + "/" + name; /* reports of the debug information name it */
    write_file(file_of_unit, unit_of(text, p->source));
    words.insert(words.begin(), cxx);
    for (const std::string &w : { "-I" + home, file_of_unit, std::string("-o"), work + "/unit.o" }) words.push_back(w);
    int status = run(words, log);
    if (status == 0) { /* linked without -fsanitize: its functions are those of our libcuda */
        words = { cxx,   "-shared",           work + "/unit.o", "-o", work + "/unit.so", "-L" + home, "-l:libcuda.so.1",
                  "-lm", "-Wl,--no-undefined" };
        if (can_run("ld.lld") && is_clang(cxx, log)) words.push_back("-fuse-ld=lld"); /* in half the time */
        if (check)
            for (const char *f : { "memcpy", "memmove", "memset" }) words.push_back(std::string("-Wl,--wrap=") + f);
        status = run(words, log);
    }
    read_file(log, &p->log);
    p->log = log_of(p->log, name);
    if (status != 0) return COMPILATION;
    read_file(work + "/unit.so", &library);
    std::string temporary =
        cache + "/" + std::to_string((long)getpid()) + "-" + std::to_string((unsigned long)(uintptr_t)p) + ".tmp";
    if (!p->patched && write_file(temporary, library)) rename(temporary.c_str(), (cache + file).c_str());
    p->image = image_of(p->arch, check, library);
    return OK;
}

EMU_API int nvrtcCompileProgram(void *h, int n, const char *const *opts)
{
    Program *p = (Program *)h;
    if (!p) return INVALID_PROGRAM;
    p->log.clear();
    p->image.clear();
    std::vector<std::string> defines;
    if (int e = emu_injected(__func__, COMPILATION)) {
        p->log = "emu: this failure was asked for\n";
        return e;
    }
    if (int e = options(p, n, opts, &defines)) return e;
    const char *base = getenv("TMPDIR");
    std::string work = std::string(base && *base ? base : "/tmp") + "/emu-XXXXXX";
    if (!mkdtemp(&work[0])) return INTERNAL;
    int result = build(p, defines, work);
    if (result != OK && p->patched) write_file(std::string(getenv("EMU_PATCH")) + ".broken", p->log);
    if (!emu_env("EMU_KEEP", 0)) {
        if (DIR *d = opendir(work.c_str())) {
            while (dirent *e = readdir(d)) unlink((work + "/" + e->d_name).c_str());
            closedir(d);
        }
        rmdir(work.c_str());
    } else
        fprintf(stderr, "emu: kept %s\n", work.c_str());
    return result;
}

/* A virtual target (compute_XX) gives text instead, with the library in hexadecimal digits; it loads on any newer
 * device. */
static std::string ptx_text(const Program *p)
{
    std::string s = "//\n// Generated by the stand-in NVRTC of hybrid's emulator\n//\n.version 9.0\n.target sm_" +
                    std::to_string(p->arch) + "\n.address_size 64\n// emulator-image ";
    static const char digits[] = "0123456789abcdef";
    s.reserve(s.size() + 2 * p->image.size() + 1);
    for (unsigned char c : p->image) {
        s += digits[c >> 4];
        s += digits[c & 15];
    }
    return s + "\n";
}
EMU_API int nvrtcGetCUBINSize(void *h, size_t *n)
{
    Program *p = (Program *)h;
    if (!p || p->image.empty()) return INVALID_PROGRAM;
    *n = p->ptx ? 0 : p->image.size();
    return OK;
}
EMU_API int nvrtcGetCUBIN(void *h, char *out)
{
    Program *p = (Program *)h;
    if (!p || p->image.empty() || p->ptx) return INVALID_PROGRAM;
    memcpy(out, p->image.data(), p->image.size());
    return OK;
}
EMU_API int nvrtcGetPTXSize(void *h, size_t *n)
{
    Program *p = (Program *)h;
    if (!p || p->image.empty()) return INVALID_PROGRAM;
    *n = ptx_text(p).size() + 1;
    return OK;
}
EMU_API int nvrtcGetPTX(void *h, char *out)
{
    Program *p = (Program *)h;
    if (!p || p->image.empty()) return INVALID_PROGRAM;
    std::string s = ptx_text(p);
    memcpy(out, s.c_str(), s.size() + 1);
    return OK;
}
EMU_API int nvrtcAddNameExpression(void *, const char *) { return OK; }
EMU_API int nvrtcGetLoweredName(void *, const char *name, const char **out)
{
    *out = name;
    return OK;
}
