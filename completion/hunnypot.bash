# Completion of hunnypot(1) for bash.  Commands, options and formats are those that the program itself names.

# The commands, of one or two words, a line each.
_hunnypot_commands()
{
    hunnypot --help 2>/dev/null | sed -nE 's/^  ([a-z]+( [a-z]+)?) .*/\1/p'
}

# What may stand behind the option or the word $1.
_hunnypot_values()
{
    case $1 in
    --class | enable | disable | test | set) echo 'trap backup address null-sender' ;;
    --format) echo 'table json csv prometheus' ;;
    --mta) echo 'postfix sendmail' ;;
    --by) echo 'client network domain helo class sensor' ;;
    export) hunnypot export --list 2>/dev/null | sed -nE 's/^([a-z0-9-]+) .*/\1/p' ;;
    esac
}

_hunnypot()
{
    local first=${COMP_WORDS[1]} second=${COMP_WORDS[2]} current=${COMP_WORDS[COMP_CWORD]} words commands
    commands=$(_hunnypot_commands)
    if [ "$COMP_CWORD" = 1 ]; then
        words="$(sed 's/ .*//' <<<"$commands") --database --help --version"
    elif [ "${current#-}" != "$current" ]; then
        grep -qx "$first $second" <<<"$commands" || second=
        words=$(hunnypot "$first" ${second:+"$second"} --help 2>/dev/null | sed -nE 's/^ +(-[a-z], )?(--[a-z0-9-]+).*/\2/p')
    elif [ "$COMP_CWORD" = 2 ] && grep -q "^$first " <<<"$commands"; then
        words=$(sed -n "s/^$first //p" <<<"$commands")
    else
        words=$(_hunnypot_values "${COMP_WORDS[COMP_CWORD - 1]}")
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current" | sort -u)
} && complete -o default -F _hunnypot hunnypot
