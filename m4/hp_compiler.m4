# HP_COMPILER_WARNINGS: the warnings the tree is kept clean of; --enable-werror makes them errors.
AC_DEFUN([HP_COMPILER_WARNINGS], [
  HP_CFLAGS="-std=gnu11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wformat=2 -Wvla"
  AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [treat warnings as errors])], [], [enable_werror=no])
  AS_IF([test "$enable_werror" = yes], [HP_CFLAGS="$HP_CFLAGS -Werror"])
  AC_SUBST([HP_CFLAGS])
])

# HP_SANITIZERS: --enable-sanitizers=address,undefined (or thread) builds everything with them.
AC_DEFUN([HP_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers=LIST], [build with -fsanitize=LIST, for example address,undefined])],
    [], [enable_sanitizers=no])
  AS_CASE([$enable_sanitizers],
    [no], [],
    [yes], [HP_SANITIZE="-fsanitize=address,undefined"],
    [HP_SANITIZE="-fsanitize=$enable_sanitizers"])
  AS_IF([test -n "$HP_SANITIZE"], [
    HP_SANITIZE="$HP_SANITIZE -fno-sanitize-recover=all -fno-omit-frame-pointer"])
  AC_SUBST([HP_SANITIZE])
])
