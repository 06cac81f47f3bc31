// Renovate and airplanes on the same files: the corpus' deps.edn with every live git coordinate pointed at a repository on
// this disk that has a newer commit, and where the coordinate has a tag, a newer tag. What the newest is, is known by
// making it. Each tool is asked for its bumps; a coordinate is right, wrong, or missed. Run by scripts/compare-renovate:
//   node renovate.mjs RENOVATE_FOLDER AIRPLANES CORPUS WORK
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [renovate, airplanes, corpus, work] = process.argv.slice(2);
const own = { ...process.env, GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_NOSYSTEM: "1", HOME: work };
const git = (args, input) => execFileSync("git", args, { input, env: own, encoding: "utf8" }).trim();
const bare = (text) => text.slice(1, -1);
const known = new Set([":git/url", ":git/sha", ":git/tag", ":sha", ":tag", ":deps/root", ":deps/manifest", ":exclusions"]);

// The coordinates that could move: a sha in full, or a tag with a sha or the beginning of one.
function movable(dep) {
  const { coord } = dep;
  if (dep.discarded || Object.keys(coord).some((key) => !known.has(key))) return undefined;
  if ((coord[":git/sha"] && coord[":sha"]) || (coord[":git/tag"] && coord[":tag"])) return undefined;
  const [sha, tag] = [coord[":git/sha"] ?? coord[":sha"], coord[":git/tag"] ?? coord[":tag"]];
  if (!sha || !/^"[0-9a-f]{6,40}"$/.test(sha.text) || (!tag && sha.text.length !== 42)) return undefined;
  if (tag && (!/^"[^"\s]+"$/.test(tag.text) || !/\d/.test(tag.text))) return undefined;
  return { dep, sha, tag, url: coord[":git/url"] };
}

const files = readFileSync(join(corpus, "dev.spans.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
const repos = new Map();
for (const file of files) {
  file.moves = file.deps.map(movable).filter(Boolean);
  for (const move of file.moves) {
    const id = (move.url ? bare(move.url.text) : move.dep.lib).replace(/^\w+:\/\//, "").replace(/\.git$/, "").toLowerCase();
    if (!repos.has(id)) repos.set(id, { at: join(work, "repos", `r${repos.size}.git`), commits: new Map(), tags: new Set() });
    move.repo = repos.get(id);
    move.stands = move.tag ? `tag ${bare(move.tag.text)}` : `sha ${bare(move.sha.text)}`;
    move.repo.commits.set(move.stands, undefined);
    // What stands before the number is the tag's line; the newest of it is made to be above all.
    if (move.tag) {
      move.newest = `${/^\D*/.exec(bare(move.tag.text))[0]}100000.0.0`;
      move.repo.tags.add(move.newest);
    }
  }
}
for (const repo of repos.values()) {
  git(["init", "-q", "--bare", "-b", "main", repo.at]);
  let [stream, mark] = ["", 0];
  const marks = [...repo.commits.keys(), "head"];
  for (const name of marks) {
    mark += 1;
    stream += `commit refs/heads/main\nmark :${mark}\ncommitter A <a@b.c> ${1600000000 + mark} +0000\ndata 1\nx\n`;
    stream += `M 100644 inline deps.edn\ndata ${String(mark).length + 3}\n{}\n${mark}\n\n`;
    if (name.startsWith("tag ")) stream += `reset refs/tags/${name.slice(4)}\nfrom :${mark}\n\n`;
  }
  for (const tag of repo.tags) stream += `reset refs/tags/${tag}\nfrom :${mark}\n\n`;
  git(["-C", repo.at, "fast-import", "--quiet"], stream);
  const made = git(["-C", repo.at, "rev-list", "--reverse", "main"]).split("\n");
  marks.forEach((name, n) => repo.commits.set(name, made[n]));
}

// A file with each coordinate at the commits that `at` gives.
function rewritten(file, at) {
  const edits = file.moves.flatMap((move) => {
    const [sha, tag] = at(move);
    const url = `"file://${move.repo.at}"`;
    const length = move.sha.text.length - 2;
    const edits = [{ span: move.sha.span, text: `"${sha.slice(0, length)}"${move.url ? "" : ` :git/url ${url}`}` }];
    if (move.url) edits.push({ span: move.url.span, text: url });
    if (move.tag) edits.push({ span: move.tag.span, text: `"${tag}"` });
    return edits;
  });
  let bytes = readFileSync(join(corpus, "dev", file.file));
  for (const { span, text } of edits.sort((a, b) => b.span[0] - a.span[0])) {
    bytes = Buffer.concat([bytes.subarray(0, span[0]), Buffer.from(text), bytes.subarray(span[1])]);
  }
  return bytes;
}
const before = (move) => [move.repo.commits.get(move.stands), move.tag && bare(move.tag.text)];
const after = (move) => [move.repo.commits.get("head"), move.newest];
for (const [n, file] of files.entries()) {
  for (const tool of ["renovate", "airplanes"]) {
    mkdirSync(join(work, tool, String(n)), { recursive: true });
    writeFileSync(join(work, tool, String(n), "deps.edn"), rewritten(file, before));
  }
}
const all = files.flatMap((file) => file.moves).length;
console.error(`${files.length} files, ${all} coordinates that can move, ${repos.size} repositories`);

// Renovate: what it would bump, as its report says.
const seconds = (began) => ((Date.now() - began) / 1000).toFixed(1);
let began = Date.now();
const tree = join(work, "renovate");
git(["init", "-q", tree]);
git(["-C", tree, "add", "-A"]);
git(["-C", tree, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "x"]);
const config = { enabledManagers: ["deps-edn"], packageRules: [{ matchDatasources: ["clojure"], enabled: false }], onboarding: false };
writeFileSync(join(work, "config.json"), JSON.stringify(config));
const report = join(work, "report.json");
const asked = spawnSync(
  process.execPath,
  [join(renovate, "node_modules/renovate/dist/renovate.js"), "--platform=local", "--dry-run=lookup", "--report-type=file", `--report-path=${report}`],
  { cwd: tree, env: { ...own, RENOVATE_CONFIG_FILE: join(work, "config.json"), LOG_LEVEL: "error", RENOVATE_BASE_DIR: join(work, "base") }, encoding: "utf8" },
);
// Its code is 1 as soon as one url of many can't be asked, as a placeholder of the corpus can't.
if (!existsSync(report)) throw new Error(`renovate ended with ${asked.status}: ${asked.stdout}${asked.stderr}`);
const theirs = { name: "Renovate", time: seconds(began), right: 0, wrong: 0, missed: 0, where: {}, files: new Set() };
const found = new Map();
for (const { packageFile, deps } of JSON.parse(readFileSync(report, "utf8")).repositories.local.packageFiles["deps-edn"] ?? []) {
  found.set(packageFile, deps);
}
const section = (move) => {
  const path = move.dep.path;
  return path.length === 1 ? path[0] : `aliases ${path[path.length - 1]}`;
};
const miss = (tool, n, move) => {
  tool.missed += 1;
  tool.files.add(n);
  tool.where[section(move)] = (tool.where[section(move)] ?? 0) + 1;
};
for (const [n, file] of files.entries()) {
  const deps = [...(found.get(`${n}/deps.edn`) ?? [])];
  for (const move of file.moves) {
    const [from, tag] = before(move);
    const digest = from.slice(0, move.sha.text.length - 2);
    const is = (dep) => dep.depName === move.dep.lib && dep.currentDigest === digest && (!move.tag || dep.currentValue === tag);
    const bare = (dep) => ({ ...dep, depName: dep.depName.includes("/") ? dep.depName : `${dep.depName}/${dep.depName}` });
    const at = deps.findIndex((dep) => is(dep) || is(bare(dep)));
    const [dep] = at < 0 ? [] : deps.splice(at, 1);
    // It may offer a small and a large step.
    const updates = (dep?.updates ?? []).filter((update) => update.newDigest);
    const [to, newest] = after(move);
    const right = updates.some((update) => to.startsWith(update.newDigest) && (!move.tag || update.newValue === newest));
    if (process.env.COMPARE_TOLD && !right) console.error(file.file, section(move), move.dep.lib, move.stands, JSON.stringify(dep ?? null)?.slice(0, 300));
    if (right) theirs.right += 1;
    else if (updates.length === 0) miss(theirs, n, move);
    else theirs.wrong += 1;
  }
}

// Airplanes: what the files are after it.
began = Date.now();
const ours = { name: "airplanes", time: 0, right: 0, wrong: 0, missed: 0, where: {}, files: new Set() };
const differs = [];
for (const [n, file] of files.entries()) {
  const folder = join(work, "airplanes", String(n));
  const said = spawnSync(airplanes, ["update", folder], { env: own, encoding: "utf8" });
  ours.files.add(n);
  if (readFileSync(join(folder, "deps.edn")).equals(rewritten(file, after))) {
    ours.right += file.moves.length;
    ours.files.delete(n);
    continue;
  }
  const text = readFileSync(join(folder, "deps.edn"), "utf8");
  differs.push(`${file.file}: ${said.stderr.trim().split("\n").filter((line) => !/ -> /.test(line)).join(" / ")}`);
  for (const move of file.moves) {
    const [[from], [to, newest]] = [before(move), after(move)];
    const length = move.sha.text.length - 2;
    if (text.includes(`"${to.slice(0, length)}`) && (!move.tag || text.includes(`"${newest}"`)) && !text.includes(`"${from.slice(0, length)}"`)) ours.right += 1;
    else if (text.includes(`"${from.slice(0, length)}"`)) miss(ours, n, move);
    else ours.wrong += 1;
  }
}
ours.time = seconds(began);
for (const line of differs) console.error(line.slice(0, 400));
console.log(`| ${all} coordinates in ${files.length} files | right | wrong | missed | of these | files not as they should be | time |\n|---|---|---|---|---|---|---|`);
for (const tool of [ours, theirs]) {
  const where = Object.entries(tool.where).map(([where, n]) => `${n} in \`${where}\``).join(", ");
  console.log(`| ${tool.name} | ${tool.right} | ${tool.wrong} | ${tool.missed} | ${where} | ${tool.files.size} | ${tool.time} s |`);
}
