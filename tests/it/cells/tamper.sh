# A build that lays traps for whoever uses its clone afterwards. $1 where a trap says that it was stepped on, $2 a
# repository of its own, which is to be pushed to instead.
set -eu
trap=$1 evil=$2
# Its own git steps on them as well; only what is not in its cell tells.
printf '#!/bin/sh\n[ "$(cat /proc/self/oom_score_adj)" = 900 ] || echo "$0" >>%s\n' "$trap" >trap && chmod +x trap
for hook in pre-push post-checkout pre-commit reference-transaction post-index-change push-to-checkout update; do
  mkdir -p .git/hooks && cp trap ".git/hooks/$hook"
done
git config core.fsmonitor "$PWD/trap"
git config core.hooksPath "$PWD/.git/hooks"
git config core.sshCommand "$PWD/trap"
git config core.pager "$PWD/trap"
git config filter.trap.smudge "$PWD/trap"
git config filter.trap.clean "$PWD/trap"
git config credential.helper "$PWD/trap"
git config include.path "$PWD/.git/more"
printf '[url "%s"]\n\tpushInsteadOf = ssh\n\tinsteadOf = ssh\n[remote "origin"]\n\tpush = +refs/heads/*:refs/heads/*\n' "$evil" >.git/more
echo '* filter=trap' >.git/info/attributes
echo "{:evil true}" >deps.edn
git -c core.hooksPath=/dev/null -c core.fsmonitor= -c include.path=/dev/null -c user.name=e -c user.email=e@example.com commit -qam evil
git update-ref refs/heads/main HEAD
echo /nowhere >>.git/objects/info/alternates
rm -rf .git/refs/remotes
echo "the traps are laid"
