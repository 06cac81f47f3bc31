//! `graph`: what depends on what, by waves or as a drawing for Graphviz.

use clap::Args;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, print_page};
use super::{Form, Globals};
use crate::model::graph::{GraphNode, GraphView};

/// `graph`.
#[derive(Debug, Clone, Args)]
pub struct GraphArgs {
    /// Only this app, with all that it stands on and all that stands on it.
    #[arg(value_name = "APP")]
    app: Option<String>,
    /// Print it as Graphviz draws it: `airplanes graph --dot | dot -Tsvg > graph.svg`.
    #[arg(long, conflicts_with_all = ["json", "edn"])]
    dot: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn graph(client: &Client, globals: &Globals, args: GraphArgs) -> Result<Exit, CliError> {
    let query: Vec<(&str, String)> = args.app.map(|app| ("app", app)).into_iter().collect();
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&["graph"], &query, accept).await?)?;
        return Ok(Exit::Done);
    }
    let view: GraphView = client.get(&["graph"], &query).await?;
    print(&if args.dot { dot(&view) } else { text(Paint::stdout(globals.color), &view) })?;
    Ok(Exit::Done)
}

fn text(paint: Paint, view: &GraphView) -> String {
    let mut out = String::new();
    let mut wave = None;
    for node in &view.nodes {
        if wave != Some(node.wave) {
            wave = Some(node.wave);
            out.push_str(&format!("{}\n", paint.dim(&format!("wave {}", node.wave))));
        }
        let state = node.last_state.as_deref().map(|state| format!("  {}", paint.state(state))).unwrap_or_default();
        let name = if node.app.is_some() { paint.bold(node.name()) } else { node.name().to_owned() };
        out.push_str(&format!("  {name}{state}\n"));
        for held in &node.held {
            out.push_str(&format!("    {} {}\n", paint.yellow("held:"), plain(held)));
        }
        for edge in view.edges.iter().filter(|edge| is_of(node, edge.to.as_str())) {
            out.push_str(&format!(
                "    {} {}\n",
                plain(&edge.from),
                paint.dim(&format!("({})", edge.follows.join(", ")))
            ));
            for note in &edge.notes {
                out.push_str(&format!("      {} {}\n", paint.yellow("note:"), plain(note)));
            }
        }
    }
    if view.nodes.is_empty() {
        out.push_str("no apps: deploy.edn is empty\n");
    }
    for names in &view.cycles {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        out.push_str(&format!("{} a circle, which plans cut: {}\n", paint.yellow("note:"), names.join(" > ")));
    }
    for note in &view.notes {
        out.push_str(&format!("{} {}\n", paint.dim("note:"), plain(note)));
    }
    out
}

fn is_of(node: &GraphNode, app: &str) -> bool {
    node.app.as_ref().is_some_and(|name| name.as_str() == app)
}

fn dot(view: &GraphView) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = String::from("digraph airplanes {\n  rankdir=LR;\n");
    for node in &view.nodes {
        let shape = if node.app.is_some() { "box" } else { "ellipse" };
        let held = if node.held.is_empty() { "" } else { ", style=filled, fillcolor=gold" };
        out.push_str(&format!("  {} [shape={shape}{held}];\n", quoted(node.name())));
    }
    for edge in &view.edges {
        let style = if edge.follows.iter().all(|follows| follows == "nothing") { ", style=dashed" } else { "" };
        let (from, to, label) = (quoted(&edge.from), quoted(edge.to.as_str()), quoted(&edge.follows.join(", ")));
        out.push_str(&format!("  {from} -> {to} [label={label}{style}];\n"));
    }
    out.push_str("}\n");
    out
}
