//! The page of events and requests.

use std::fmt::Write as _;

use serin_core::plan::{Transition, Verb};

/// Tables of what is told and of what can be asked.
pub(crate) fn page() -> String {
    let mut page = String::from(
        "# Events and requests\n\nGenerated from `core/src/plan/`.\n\n## Events\n\nOne per transition, in the order of a \
         trial; a crash in between repeats none. `serin_transitions_total` counts them by reason.\n\n\
         | reason | type | comes right after | told when |\n|---|---|---|---|\n",
    );
    for transition in Transition::ALL {
        let (name, type_, meaning) = (transition.as_str(), transition.warns(), transition.meaning());
        let follows = match transition.follows() {
            None => "at any time".to_owned(),
            Some([]) => "nothing: it begins a trial".to_owned(),
            Some(others) => {
                let names: Vec<_> = others
                    .iter()
                    .map(|other| format!("`{}`", other.as_str()))
                    .collect();
                names.join(", ")
            }
        };
        writeln!(page, "| `{name}` | {type_} | {follows} | {meaning} |").unwrap();
    }
    page.push_str(
        "\n## Requests\n\nThe annotation `serin.dev/request` holds `VERB/REVISION` or `VERB/REVISION@OCCASION`. Each is \
         answered once, in `status.request`; [`kubectl serin`](../how-to/step-in.md) writes them.\n\n\
         | verb | what it asks for |\n|---|---|\n",
    );
    for verb in Verb::ALL {
        writeln!(page, "| `{}` | {} |", verb.as_str(), verb.meaning()).unwrap();
    }
    page
}
