/* windows_utf8: on Windows, a program's arguments, file names and console in UTF-8, as they are everywhere else. The
 * examples include it there (with main renamed); a program of yours that already speaks UTF-8, or wmain, does not
 * need it: hybrid itself takes paths in UTF-8. */
#ifndef WINDOWS_UTF8_H
#define WINDOWS_UTF8_H
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <shellapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_MSC_VER)
    #pragma comment(lib, "shell32.lib")
#endif

static int utf8_main(int argc, char **argv);

static char *utf8_of(const wchar_t *text)
{
    const int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *utf8 = size > 0 ? (char *)malloc((size_t)size) : NULL;
    if (utf8) WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8, size, NULL, NULL);
    return utf8;
}

int main(void)
{
    int argc = 0, i;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &argc);
    char **argv = wide ? (char **)calloc((size_t)argc + 1, sizeof *argv) : NULL;
    if (!argv) return 1;
    for (i = 0; i < argc; i++)
        if (!(argv[i] = utf8_of(wide[i]))) return 1;
    SetConsoleOutputCP(CP_UTF8);
    return utf8_main(argc, argv); /* the arguments live as long as the program */
}

/* fopen with a path in UTF-8. */
static inline FILE *utf8_fopen(const char *path, const char *mode)
{
    wchar_t wide_path[1024], wide_mode[8];
    if (!MultiByteToWideChar(CP_UTF8, 0, path, -1, wide_path, 1024)) return NULL;
    if (!MultiByteToWideChar(CP_UTF8, 0, mode, -1, wide_mode, 8)) return NULL;
    return _wfopen(wide_path, wide_mode);
}

/* fgets; from a console, whose code page cannot be UTF-8 when reading, by way of UTF-16. */
static inline char *utf8_fgets(char *line, int size, FILE *file)
{
    wchar_t wide[1024];
    DWORD mode, n = 0;
    HANDLE console = GetStdHandle(STD_INPUT_HANDLE);
    if (file != stdin || !GetConsoleMode(console, &mode)) return fgets(line, size, file);
    /* 26: Ctrl-Z ends the input */
    if (!ReadConsoleW(console, wide, 1023, &n, NULL) || !n || wide[0] == 26) return NULL;
    wide[n] = 0;
    return WideCharToMultiByte(CP_UTF8, 0, wide, -1, line, size, NULL, NULL) ? line : NULL;
}

#define main  utf8_main
#define fopen utf8_fopen
#define fgets utf8_fgets
#endif
