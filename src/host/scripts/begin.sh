# What the scripts begin with. Standard output is the answer, `key value` a line between `begin` (a
# shell's profile may print before it) and `end`; standard error is
# for people. Exit code 10: refused, and the answer says why. POSIX sh only; no text from outside but in "$1" and so on.
set -u
echo begin
export LC_ALL=C GIT_TERMINAL_PROMPT=0
say() { printf '%s\n' "$*" >&2; }
# KIND [LINE...]: what is refused, and the details.
refuse() { printf 'refused %s\n' "$1"; shift; [ $# = 0 ] || printf '%s\n' "$@"; echo end; exit 10; }
# A parent's .git is never meant.
enter() { cd -P "$1" || exit 1; export GIT_CEILING_DIRECTORIES="${PWD%/*}"; }
g() { git -c core.quotePath=false "$@" 9>&-; }
# REFSPEC: from the origin, in words to standard error.
fetch() {
  [ -n "${GIT_SSH_COMMAND:-}${GIT_SSH:-}" ] || g config core.sshCommand >/dev/null || export GIT_SSH_COMMAND='ssh -o BatchMode=yes'
  g -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=60 fetch --no-progress origin "$1" >&2
}
# The git folder in $GIT; refuses what git refuses.
open_git() {
  GIT=$(g rev-parse --absolute-git-dir 2>&1) && return
  case $GIT in
    *'dubious ownership'*) refuse owner "said $(id -un) is not the owner $(ls -ld . | awk '{ print $3 }')" ;;
    *) refuse not-git "said $(printf '%s' "$GIT" | tr '\n' ' ')" ;;
  esac
}
# The folder in hand holds releases, and `current` leads to the one in force; its own files are in $GIT then.
is_releases() { [ ! -e .git ] && [ -L current ] && GIT=$PWD; }
# The release in force by its name: SHA-SUM, with the first 12 digits of its file's sha256; of older ones SHA.
release() { readlink current | sed 's,.*/,,'; }
# The commit in force, of either kind of folder.
head_here() { if is_releases; then release | cut -c 1-40; else g rev-parse -q --verify 'HEAD^{commit}'; fi; }
# Tracked files that differ from HEAD, in the folder or in the index.
changed() {
  [ -n "$(g --no-optional-locks status --porcelain -uno --ignore-submodules --no-renames 2>/dev/null)" ] || return 0
  { g --no-optional-locks diff --name-only --no-renames --ignore-submodules HEAD
    g --no-optional-locks diff --name-only --no-renames --ignore-submodules --cached HEAD; } 2>/dev/null | sort -u
}
prefixed() { while IFS= read -r line; do printf '%s %s\n' "$1" "$line"; done; }
# NAME: a field of the marker, in $V.
field() {
  V=
  case $M in *"\"$1\":\""*) V=${M#*"\"$1\":\""}; V=${V%%\"*} ;; esac
  case $V in *[!0-9a-z]*) V= ;; esac
}
# The marker's fields in $M_SHA $M_STATE $M_FROM $M_SUM: ours alone writes it, on one line.
read_marker() {
  M=; [ ! -e "$GIT/airplanes.json" ] || IFS= read -r M <"$GIT/airplanes.json" || :
  field sha; M_SHA=$V
  field state; M_STATE=$V
  field from; M_FROM=$V
  field sum; M_SUM=$V
}
# After read_marker: as much as is known of the sum of the file of the release in force; nothing in a clone.
sum_here() {
  is_releases || return 0
  R=$(release) S=
  case $R in *-*) S=${R#*-} ;; esac
  case $M_SUM in "$S"*) [ "$M_SHA" != "${R%%-*}" ] || S=$M_SUM ;; esac
  printf '%s' "$S"
}
# WORDS: what could not be written, and how much room there is.
unwritten() {
  say "$1"
  refuse unwritten "said $(printf '%s' "$1" | tail -n 2 | tr '\n' ' '); $(df -Pk . 2>/dev/null | awk 'NR == 2 { print $4 " KiB are free on " $6 }')"
}
# LINE: to the disk before anything that comes after.
write_marker() {
  printf '%s\n' "$1" >"$GIT/airplanes.json.new" || unwritten "$GIT/airplanes.json could not be written"
  sync "$GIT/airplanes.json.new" 2>/dev/null || sync
  mv -f "$GIT/airplanes.json.new" "$GIT/airplanes.json" || exit 1
  sync "$GIT" 2>/dev/null || sync
}
# UNIT: what systemd knows of it.
unit() {
  command -v systemctl >/dev/null 2>&1 || return 0
  systemctl show -p LoadState,ActiveState,SubState,NRestarts,InvocationID,MainPID "$1.service" 2>/dev/null | prefixed unit
}
# COMMAND...: what has to stand before it to run it as root, in $SUDO; refuses where sudo would ask.
as_root() {
  SUDO=; [ "$(id -u)" != 0 ] || return 0
  command -v sudo >/dev/null 2>&1 || refuse sudo "said there is no sudo, and $(id -un) is not root"
  SAID=$(sudo -n -l "$@" 2>&1 >/dev/null) || refuse sudo "said ${SAID:-sudo does not let $(id -un) run $*}"
  SUDO='sudo -n'
}
