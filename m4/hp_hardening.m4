# HP_TRY_CFLAG(VARIABLE, FLAG): append FLAG to VARIABLE when it compiles and links without a warning.
AC_DEFUN([HP_TRY_CFLAG], [
  AC_MSG_CHECKING([whether $CC takes $2])
  hp_saved_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS -Werror $2"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
    [AC_MSG_RESULT([yes]); $1="$$1 $2"],
    [AC_MSG_RESULT([no])])
  CFLAGS=$hp_saved_CFLAGS
])

# HP_HARDENING: PIE, RELRO, stack protector and FORTIFY where the compiler has them; --disable-hardening leaves them out.
# FORTIFY needs optimisation and is of no use beside a sanitizer.
AC_DEFUN([HP_HARDENING], [
  AC_ARG_ENABLE([hardening], [AS_HELP_STRING([--disable-hardening], [build without PIE, RELRO, stack protector, FORTIFY])],
    [], [enable_hardening=yes])
  HP_HARDEN_CFLAGS=
  HP_HARDEN_LDFLAGS=
  AS_IF([test "$enable_hardening" = yes], [
    HP_TRY_CFLAG([HP_HARDEN_CFLAGS], [-fPIE])
    HP_TRY_CFLAG([HP_HARDEN_CFLAGS], [-fstack-protector-strong])
    HP_TRY_CFLAG([HP_HARDEN_CFLAGS], [-fstack-clash-protection])
    HP_TRY_CFLAG([HP_HARDEN_CFLAGS], [-fcf-protection])
    HP_TRY_CFLAG([HP_HARDEN_LDFLAGS], [-pie])
    HP_TRY_CFLAG([HP_HARDEN_LDFLAGS], [-Wl,-z,relro,-z,now])
    AS_IF([test -z "$HP_SANITIZE"], [
      AS_CASE([" $CFLAGS "], [*" -O0 "*], [], [*" -O"*], [HP_HARDEN_CFLAGS="$HP_HARDEN_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"])
    ])
  ])
  AC_SUBST([HP_HARDEN_CFLAGS])
  AC_SUBST([HP_HARDEN_LDFLAGS])
])
