# $1 the folder, $2 the app's own command, by sh in that folder. Its output goes to the log.
enter "$1"
unset GIT_CEILING_DIRECTORIES GIT_TERMINAL_PROMPT LC_ALL
sh -c "$2" >&2 || refuse command "code $?"
echo end
