# What Dovecot 2.3 asks about a login, as its passdb checkpassword has it: passes what was typed on
# to the gate, and says what that says. Its passdb imap calls a wrong password a temporary failure.
LC_ALL=C
IFS= read -r -d '' name <&3 && IFS= read -r -d '' password <&3 || exit 111
exec 5<>/dev/tcp/127.0.0.1/GATE || exit 111
words=$TCPREMOTEIP/$name
printf 'a LOGIN {%d+}\r\n%s {%d+}\r\n%s\r\n' ${#words} "$words" ${#password} "$password" >&5
read -r -t 60 _ <&5 && read -r -t 60 answer <&5
exec 5>&-
case $answer in
    'a OK '*) USER=$name exec "$@" ;;
    'a NO [AUTHENTICATIONFAILED] '*) exit 1 ;;
    *) exit 111 ;;
esac
