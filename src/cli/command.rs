//! The commands and what `--help` says of each, with examples. What a command does is in the file of its name; this one
//! must hold nothing else.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    apps, backup, deliveries, deploy, doctor, explain, gc, graph, hold, hook, host, impact, init, jobs, keys, logs,
    notify, promote, provenance, render, repos, restore, rollback, secret, server, status, sync, update,
};

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Write a first config.edn and deploy.edn.
    #[command(
        long_about = "Write a first config.edn and deploy.edn, commented, from the checkouts that it is pointed at: \
        their git remotes say where they are, and their deps.edn which of them depend on which. What it guesses, it \
        says in a comment. It also makes the webhooks' secret and shows it, once, with where to paste it. Nothing that \
        is there is overwritten; needs no daemon.\n\n  airplanes init ~/src/shop ~/src/snow\n  \
        airplanes init ~/src --dry-run\n  \
        sudo airplanes init git@github.com:acme/shop.git --url https://deploy.example.com"
    )]
    Init(init::InitArgs),
    /// Make a deploy key for each repository, and say what to paste where.
    #[command(
        long_about = "Make a deploy key for each repository that is spoken to over ssh and has none, and one for the \
        hosts, in keys/ beside the config file; print each public key and where to paste it; add what is new to the \
        config file; and trust the git hosts by the host keys that they publish. What is there already is shown again \
        and never replaced. Libraries are those that :git :keys names, and those that the checkouts or urls given here \
        depend on.\n\n  airplanes keys\n  airplanes keys ~/src/shop --dry-run\n  \
        airplanes keys git@github.com:acme/snow.git"
    )]
    Keys(keys::KeysArgs),
    /// Trust a host, set it up, install an app's unit and sites there, look at it.
    #[command(
        long_about = "What is done about hosts. `trust` shows a host's key, asks, and records it; `setup` makes a bare server \
        ready; `install` puts an app's unit and nginx sites there; `status` and `unit` look and act by hand.\n\n  \
        airplanes host trust web-1\n  airplanes host setup web-1 --install java,nginx\n  \
        airplanes host install shop --dry-run\n  airplanes host trust --help"
    )]
    Host(host::HostArgs),
    /// Print what will be put on an app's hosts.
    #[command(
        long_about = "Print what will be put on an app's hosts: its systemd unit, and what nginx is given. Nothing is \
        touched; `airplanes host install` puts it there, and so does a deploy.\n\n\
        A folder :templates in config.edn may hold templates of your own, in tera's language (as Jinja's), each taken in \
        place of ours:\n\n  \
        service.tera  app name description exec_start user working_directory in_home environment credentials\n                \
        state write memory restart postgres\n  \
        site.tera     app acme sites: names upstream server websocket max_body tls (certificate key ready)\n  \
        http.tera     nothing\n\n\
        Examples:\n\n  airplanes render systemd shop\n  airplanes render nginx shop"
    )]
    Render(render::RenderArgs),
    /// Make, list and destroy servers.
    #[command(long_about = "Make, list and destroy servers, at the providers of :providers.\n\n  \
        airplanes server create web-3 --provider linode --region eu-central --type g6-nanode-1 --image linode/debian12\n  \
        airplanes server list\n  airplanes server destroy web-3\n  airplanes server create --help")]
    Server(server::ServerArgs),
    /// Run the daemon.
    #[command(long_about = "Run the daemon: webhooks in, jobs out, until SIGTERM.\n\n\
        It reads the config file and deploy.edn, and reads them again when they change; a bad edit is reported and the \
        last good one stays in force.\n\n  airplanes serve --config /etc/airplanes/config.edn")]
    Serve,
    /// Bump the git dependencies of a local checkout.
    #[command(
        long_about = "Bump the git dependencies of a local checkout: each sha in deps.edn and bb.edn moves to the head \
        of the branch that it is on, each tag to the newest of its line, with its sha. Nothing but these bytes \
        changes, and nothing is committed. What is pinned, can't be used or could only go sideways is left alone, and \
        why is said; what tools.deps would refuse is not written.\n\n\
        Where deploy.edn has apps of that repository, their :track, :directory, :deps-files and branches count, as \
        for the daemon; holds are known to the daemon alone.\n\n  \
        airplanes update --dry-run\n  airplanes update ~/src/shop"
    )]
    Update(update::UpdateArgs),
    /// Show it all on this machine, with nothing configured.
    #[command(
        long_about = "Show it all on this machine, with nothing configured: a git host with a library and an app, \
        two ssh hosts on loopback and the daemon, in a temporary folder. A push to the library goes live before your \
        eyes.\n\n  airplanes demo          stays up to play with\n  airplanes demo --once   ends by itself, with 0 if all was seen"
    )]
    Demo(DemoArgs),
    /// What the demo's git server does after a push: post a signed webhook.
    #[command(hide = true)]
    DemoHook(DemoHookArgs),
    /// Check config.edn and deploy.edn.
    #[command(
        long_about = "Check config.edn and deploy.edn as the daemon reads them, and change nothing. Faults are shown \
        with file, line, column and a caret; then the exit code is 2.\n\n  airplanes check --config ./config.edn"
    )]
    Check,
    /// List jobs, newest first.
    #[command(long_about = "List jobs, newest first.\n\n  airplanes jobs --app shop --state failed\n  \
        airplanes jobs --state open --json")]
    Jobs(jobs::JobsArgs),
    /// Show one job: its causes, steps, hosts and bumps.
    #[command(long_about = "Show one job: its causes, steps, hosts and bumps.\n\n  airplanes job last\n  \
        airplanes job 1jq3m8x2k4a0c-000 --json")]
    Job(jobs::JobArgs),
    /// Print a job's logs.
    #[command(
        long_about = "Print a job's logs: all steps in order, or one. With -f it goes on until the job ends, and ends \
        with the job's exit code.\n\n  airplanes logs last -f\n  airplanes logs 1jq3m8x2k4a0c-000 build/test\n  \
        airplanes logs last rollout/web-1"
    )]
    Logs(logs::LogsArgs),
    /// Deploy an app as its branch stands.
    #[command(long_about = "Deploy an app as its branch stands, with the bumps that are due; those of an app with \
        :publish :pull-request go into a pull request first. With --watch it tells the steps as they happen, and ends \
        with the job's exit code; with --plan it says in which batches the hosts would get it, and does nothing.\n\n  \
        airplanes deploy shop --watch\n  airplanes deploy shop --plan")]
    Deploy(deploy::DeployArgs),
    /// Bring an app's hosts back to a commit that did well.
    #[command(
        long_about = "Bring an app's hosts back to a commit that did well: what was live before, or what --to names. \
        Nothing is built; the hosts get it in the app's batches, are restarted and verified, and one that fails keeps the \
        others from nothing. Asked again after one that did not come to all hosts, it goes on with that. The app is held \
        when it ends: its dependencies stay where they are until a push that descends \
        from the commit that was taken back. Only commits that a job of the app brought to its hosts well are known.\n\n  \
        airplanes rollback shop --plan\n  airplanes rollback shop --watch\n  airplanes rollback shop --to 3f2a91c\n  \
        airplanes rollback shop --env production"
    )]
    Rollback(rollback::RollbackArgs),
    /// Bring what one environment of an app runs to the next.
    #[command(
        long_about = "Bring what one environment of an app runs to the one after it: the same commit, nothing is built. \
        The hosts of the first are asked; unless all of them run one commit and are well, it is refused. The others get \
        it in the batches of their environment, are restarted and verified, and go back if too many fail, as in a deploy. \
        Where only people promote (:promote :manual) it says what it will do and asks; --yes is the answer for scripts.\n\n  \
        airplanes promote shop --plan\n  airplanes promote shop --watch\n  \
        airplanes promote shop --to production --yes --watch"
    )]
    Promote(promote::PromoteArgs),
    /// Cancel a job.
    #[command(
        long_about = "Cancel a job: one that waits ends at once, a build is ended, and a rollout stops after the host \
        in hand.\n\n  airplanes cancel last"
    )]
    Cancel(jobs::CancelArgs),
    /// Hold an app or a library of it where it is, let go of it, or list what is held.
    #[command(
        long_about = "Hold an app where it is: nothing of it runs, pushes and deploys neither, until someone lets go of \
        it or its time comes. With a library, only that stays where it is in the app. Jobs that have started go on; apps \
        that depend on a held one still run. When a hold ends its app runs once, to make up for what was kept back. \
        A second hold of the same takes the first one's place, with its own reason and end and nothing of the first, which \
        is told; only a rollback's stays beneath it. Without an app the holds are listed.\n\n  airplanes hold shop --reason \"the sale\" --until 2d\n  \
        airplanes hold shop acme/snow --reason \"1.4 loses carts\" --until-descendant-of 3f2a…\n  \
        airplanes hold shop --release\n  airplanes hold"
    )]
    Hold(hold::HoldArgs),
    /// Set what an app's unit is given as credentials.
    #[command(
        long_about = "Set the secrets of an app, list their names, remove one. They are kept sealed, handed to the app's \
        unit as credentials by its deploys, and never shown again. Which it gets, :secrets of its :service says.\n\n  \
        airplanes secret set shop api-key\n  airplanes secret list shop\n  airplanes secret remove shop api-key"
    )]
    Secret(secret::SecretArgs),
    /// Say what a push would set in motion.
    #[command(
        long_about = "Say what a push to a repository would set in motion: which apps, in which order, to which hosts, \
        and which lines of their files would change. Nothing of it happens. With `@SHA` or `@TAG` it is judged for that \
        commit, which is fetched if the daemon does not have it, with what tools.deps would refuse of it.\n\n  airplanes plan github.com/acme/snow\n  \
        airplanes plan shop --branch master\n  \
        airplanes plan github.com/acme/snow@4c4b6fa"
    )]
    Plan(apps::PlanArgs),
    /// Try out who would break if a branch were merged.
    #[command(
        long_about = "Try out who would break if a branch of a repository were merged: what depends on it is built with \
        it, in waves, each app with what those before it would publish. Nothing is pushed, and no job waits for it. An \
        app that breaks is built without it too, to see whether it was broken before. Where the branch to merge into \
        has moved on, what merging makes is tried. Ends with 3 if one would break, and with 1 if one could not be \
        tried. Ctrl-C ends it.\n\n  airplanes impact github.com/acme/snow faster --report\n  \
        airplanes impact snow fix-2.x --onto 2.x --app shop\n  \
        airplanes impact snow 4c4b6fa0e1d2c3b4a5968778695a4b3c2d1e0f90 --json"
    )]
    Impact(impact::ImpactArgs),
    /// Show what depends on what.
    #[command(
        long_about = "Show what depends on what: apps by wave, under each what it depends on and what moves that (a \
        branch, tags, nothing where it is pinned). With an app: all that it stands on, and all that stands on it.\n\n  \
        airplanes graph\n  airplanes graph shop --json\n  airplanes graph --dot | dot -Tsvg > graph.svg"
    )]
    Graph(graph::GraphArgs),
    /// Say why a job ran and why it ended as it did, or what an event did.
    #[command(
        long_about = "Say why a job ran, and why it ended as it did: the pushes, what it waited for and how that \
        ended, what was bumped, what was left alone and why, and what the planner noted. Of an event (`deliveries` \
        lists them): the jobs that it made, and the apps that it left out, with the reason.\n\n  \
        airplanes explain last\n  airplanes explain shop      its newest job\n  \
        airplanes explain 1jq3m8x2k4a0c-000 --json\n  airplanes explain 1jq3m8x2k4a0c    an event"
    )]
    Explain(explain::ExplainArgs),
    /// List the apps of deploy.edn.
    #[command(
        long_about = "List the apps of deploy.edn, with what they depend on and their last job.\n\n  airplanes apps\n  \
        airplanes apps shop --json"
    )]
    Apps(apps::AppsArgs),
    /// Say which apps and hosts run a library, or a commit of it.
    #[command(
        long_about = "Say which apps and hosts run a library, or a commit of it: each app's last good job kept what it was \
        built with, down to what its dependencies depend on.\n\n  airplanes where acme/snow\n  \
        airplanes where acme/snow@3f2a91c"
    )]
    Where(provenance::WhereArgs),
    /// Say which apps were built without a commit: a fix, say.
    #[command(
        long_about = "Say which apps were built without a commit (a fix, say), of those that have its repository in them, \
        and what it would take. Ends with 1 if there is one, or an app of which it is not known. A commit that no mirror \
        has is looked for at all remotes, at most twice a minute.\n\n  \
        airplanes missing 3f2a91c0d5e6f708192a3b4c5d6e7f8091a2b3c4"
    )]
    Missing(provenance::MissingArgs),
    /// Ask the hosts what they run, beside what they were left at.
    #[command(
        long_about = "Ask the hosts what they run, beside what the last good job left them at: another commit, files that \
        were changed by hand, a unit that is down. Nothing is changed. Ends with 1 if a host is not in step, or can't be \
        asked.\n\n  airplanes drift\n  airplanes drift shop --json"
    )]
    Drift(provenance::DriftArgs),
    /// List the repositories, and when anything was last heard of each.
    #[command(
        long_about = "List the repositories that apps live in or depend on: who follows each, and when anything was last \
        heard of it, by a webhook or because the daemon listed its branches (:poll). A remote that can't be listed, and \
        a branch that is not there any more, are said below.\n\n  airplanes repos\n  airplanes repos acme/snow"
    )]
    Repos(repos::ReposArgs),
    /// Look at the remotes now, and take up what no webhook told of.
    #[command(
        long_about = "Look at the remotes now: all of them, or an app's own and those that it depends on. A branch that \
        moved without a webhook is taken up like any push; apps that are behind a head which was there before anybody \
        listed it are told, with the command that takes it. The daemon does the same by itself, each :poll. Ends with 1 \
        if a remote could not be asked.\n\n  airplanes sync --dry-run   says what has moved, and does nothing about \
        it\n  airplanes sync shop"
    )]
    Sync(sync::SyncArgs),
    /// List webhook calls and what became of each.
    #[command(
        long_about = "List the authentic webhook calls, newest first, and what became of each: ignored and why, or its \
        event and jobs.\n\n  airplanes deliveries --limit 5"
    )]
    Deliveries(deliveries::DeliveriesArgs),
    /// Try everything that a deploy needs, and say what mends what fails.
    #[command(
        long_about = "Try everything that a deploy needs, without changing anything: the repositories (fetch, and push \
        as `git push --dry-run` asks), ssh to each host, sudo, working directories, units, the tools and git \
        dependencies of builds, disk, clock, port, public url, webhooks. Under what fails stands the command that \
        mends it. The daemon looks, as its own user; where none answers, what can be told without it is looked at as \
        you. Exit code 0 if nothing failed, else 1.\n\n\
        \u{20} airplanes doctor\n  airplanes doctor shop --json"
    )]
    Doctor(doctor::DoctorArgs),
    /// Try the ways of :notify.
    #[command(
        long_about = "Try the ways of :notify, by which the daemon tells of failures.\n\n  airplanes notify test\n  \
        airplanes notify test --dry-run"
    )]
    Notify(notify::NotifyArgs),
    /// Write all that the daemon keeps to a file, while it runs.
    #[command(
        long_about = "Write all that the daemon keeps to a file, while it runs and takes webhooks: every job with its \
        journal, the deliveries, the jobs' logs and the operator's token, as of one moment. The file appears only once \
        it is whole and checked; it is readable by you alone, since it holds the token. Mirrors and clones are made \
        again and are not in it. config.edn, deploy.edn and the keys are yours: keep them beside it.\n\n  \
        airplanes backup /backup/airplanes-$(date +%F).airplanes\n  \
        airplanes backup - --no-logs | ssh backup 'cat > airplanes.airplanes'"
    )]
    Backup(backup::BackupArgs),
    /// Put a backup back, while the daemon is stopped.
    #[command(
        long_about = "Put a backup into the state folder, while the daemon is stopped: jobs that were under way go on \
        at its next start. The file is read to its end and checked before anything is touched. Over a store that is \
        there only with --replace, which keeps that one aside.\n\n  \
        airplanes restore backup.airplanes --dry-run\n  \
        airplanes restore /var/lib/airplanes/backups/daily-20261122T131500Z.airplanes --replace\n  \
        airplanes restore backup.airplanes --state /srv/airplanes"
    )]
    Restore(restore::RestoreArgs),
    /// Test the way of webhooks.
    #[command(
        long_about = "Test the way of webhooks. `test` lets the daemon call itself as an app's forge would, and \
        shows each check that the call passes.\n\n  airplanes hook test shop\n  airplanes hook test --help"
    )]
    Hook(hook::HookArgs),
    /// Show how the daemon is.
    #[command(
        long_about = "Show how the daemon is: version, store, jobs under way, last deliveries.\n\n  airplanes status"
    )]
    Status(status::StatusArgs),
    /// Do the daily upkeep now.
    #[command(
        long_about = "Do the daily upkeep now, in the running daemon: what :keep does not keep goes (jobs, their \
        journals and logs, old events and deliveries), so does what ended jobs and killed daemons left, and mirrors are \
        maintained. Nothing that a job under way needs is touched. Ends with 1 if a part could not be done.\n\n  \
        airplanes gc --dry-run   says what would go, and lets it be\n  airplanes gc"
    )]
    Gc(gc::GcArgs),
    /// Print what makes a shell complete these commands.
    #[command(
        long_about = "Print what makes a shell complete these commands: bash, zsh, fish, elvish or powershell.\n\n  \
        airplanes completions bash | sudo tee /etc/bash_completion.d/airplanes\n  \
        airplanes completions fish > ~/.config/fish/completions/airplanes.fish"
    )]
    Completions(CompletionsArgs),
}

/// `demo`.
#[derive(Debug, Clone, Copy, Args)]
pub struct DemoArgs {
    /// End by itself, with exit code 0 only if all of it was seen.
    #[arg(long)]
    pub once: bool,
}

/// `completions`.
#[derive(Debug, Clone, Copy, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `demo-hook`.
#[derive(Debug, Clone, Args)]
pub struct DemoHookArgs {
    /// Where the webhook goes and how it is signed, as the demo wrote it.
    pub file: PathBuf,
}
