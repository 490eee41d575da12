//! The page of conditions.

use std::fmt::Write as _;

use serin_core::status::conditions::{
    ConditionType, Progress, reasons, reasons_of_paused, reasons_of_promoted,
};

const HEAD: &str = "# Conditions

Generated from `core/src/status/conditions.rs`. Each has the `observedGeneration` that it answers, and a `lastTransitionTime`
that moves with its `status` alone; `message` says with figures what `reason` says in a word. How to wait for them:
[watch with kubectl, Argo CD and Flux](../how-to/watch-with-argo-cd-and-flux.md).

| type | says that |
|---|---|
";

const OF_RELEASE: &str = "
## Ready, Reconciling and Stalled

One fact, told by the rules of [kstatus](https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus): the three have
the same reason and message, and at most one of them is `True`. None is `Unknown`: what cannot be seen is on its way.

| the release | Ready | Reconciling | Stalled | kstatus |
|---|---|---|---|---|
";

pub(crate) fn page() -> String {
    let mut page = String::from(HEAD);
    for type_ in ConditionType::ALL {
        writeln!(page, "| `{}` | {} |", type_.as_str(), type_.meaning()).unwrap();
    }
    page.push_str(OF_RELEASE);
    let all = [
        Progress::Done,
        Progress::UnderWay,
        Progress::Stalled,
        Progress::Idle,
    ];
    for progress in all {
        let [ready, reconciling, stalled] = progress.truths().map(|(_, status)| status);
        let (is, kstatus) = (words(progress), progress.kstatus());
        writeln!(page, "| {is} | {ready} | {reconciling} | {stalled} | {kstatus} |").unwrap();
    }
    for progress in all {
        write!(page, "\n### Reasons of a release that {}\n\n", words(progress)).unwrap();
        page.push_str("| reason | meaning |\n|---|---|\n");
        for (_, reason, meaning) in reasons().into_iter().filter(|(whose, ..)| *whose == progress) {
            writeln!(page, "| `{reason}` | {meaning} |").unwrap();
        }
    }
    of(&mut page, "Promoted", &reasons_of_promoted());
    of(&mut page, "Paused", &reasons_of_paused());
    page
}

fn words(progress: Progress) -> &'static str {
    match progress {
        Progress::Done => "has arrived",
        Progress::UnderWay => "is on its way, or waits",
        Progress::Stalled => "needs somebody to change something",
        Progress::Idle => "is asked for nothing yet",
    }
}

fn of(page: &mut String, type_: &str, reasons: &[(&str, &str, &str)]) {
    write!(
        page,
        "\n## {type_}\n\n| status | reason | meaning |\n|---|---|---|\n"
    )
    .unwrap();
    for (status, reason, meaning) in reasons {
        writeln!(page, "| {status} | `{reason}` | {meaning} |").unwrap();
    }
}
