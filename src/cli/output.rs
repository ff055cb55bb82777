//! Lists for people and for programs.

use std::io::{IsTerminal, stdout};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::{Map, Value};

use super::Outcome;

/// The form of a list; where none is asked for, a table on a terminal, else JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people.
    Table,
    /// One array of objects.
    Json,
}

/// Prints rows under these names.
pub(super) fn print<const COLUMNS: usize>(
    format: Option<OutputFormat>,
    names: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> Outcome {
    if format.unwrap_or_default() == OutputFormat::Json {
        let object = |row: &[String; COLUMNS]| -> Map<String, Value> {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .zip(row.iter().cloned().map(Value::from))
                .collect()
        };
        let list: Vec<_> = rows.iter().map(object).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(names);
    for row in rows {
        table.add_row(row);
    }
    println!("{table}");
    Ok(())
}

impl Default for OutputFormat {
    fn default() -> Self {
        if stdout().is_terminal() { OutputFormat::Table } else { OutputFormat::Json }
    }
}
