//! All mutants in one program: a function that is changed somewhere keeps, beside its own body, a copy for each change.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

use super::Mutant;

/// Added to the crate: which mutant lives; 0 is none.
pub(super) const SWITCH: &str = r#"
/// The mutant that lives; 0 is none.
pub fn mutant() -> usize {
    static MUTANT: std::sync::LazyLock<usize> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0));
    *MUTANT
}
"#;

/// A source file with its mutants in it.
pub(super) struct Woven {
    pub(super) text: String,
    /// The mutant that each line belongs to; 0 where it is the original.
    pub(super) owners: Vec<usize>,
}

/// A function, as parts of its file.
struct Function {
    whole: Range<usize>,
    body: Range<usize>,
}

/// Puts the `mutants` of a file, each with its number, into its text.
///
/// Errors: a place that is not in the text or in no body, or a function without a body.
pub(super) fn weave(text: &str, mutants: &[(usize, &Mutant)]) -> Result<Woven> {
    let mut woven = Weaver::default();
    let (mut from, mut placed) = (0, 0);
    for function in outermost(text, mutants)? {
        woven.add(0, part(text, from..function.whole.start)?);
        // What is known when it is compiled could not be chosen when it runs.
        let head = part(text, function.whole.start..function.body.start)?.replace("const fn", "fn");
        woven.add(0, &head);
        woven.add(0, "\nmatch crate::mutant() {\n");
        for (number, mutant) in mutants {
            let place = mutant.place(text)?;
            if function.body.start <= place.start && place.end <= function.body.end {
                woven.add(*number, &format!("{number} => {{"));
                woven.add(*number, part(text, function.body.start..place.start)?);
                woven.add(*number, &mutant.replacement);
                woven.add(*number, part(text, place.end..function.body.end)?);
                woven.add(*number, "}\n");
                placed += 1;
            }
        }
        woven.add(0, "_ => {");
        woven.add(0, part(text, function.body.clone())?);
        woven.add(0, "} }\n");
        from = function.body.end;
    }
    ensure!(placed == mutants.len(), "some of its mutants are in no body");
    woven.add(0, part(text, from..text.len())?);
    woven.owners.push(0);
    Ok(Woven {
        text: woven.text,
        owners: woven.owners,
    })
}

/// The text with one mutant in place of the original.
pub(super) fn alone(text: &str, mutant: &Mutant) -> Result<String> {
    let place = mutant.place(text)?;
    let before = part(text, 0..place.start)?;
    let after = part(text, place.end..text.len())?;
    Ok(format!("{before}{}{after}", mutant.replacement))
}

#[derive(Default)]
struct Weaver {
    text: String,
    owners: Vec<usize>,
}

impl Weaver {
    fn add(&mut self, owner: usize, text: &str) {
        self.text.push_str(text);
        let ended = text.matches('\n').count();
        self.owners.extend(std::iter::repeat_n(owner, ended));
    }
}

/// The functions that are changed, in order; one inside another is part of the outer one's body.
fn outermost(text: &str, mutants: &[(usize, &Mutant)]) -> Result<Vec<Function>> {
    let mut wholes = Vec::new();
    for (_, mutant) in mutants {
        let function = mutant.function.as_ref().context("it is in no function")?;
        wholes.push(function.span.range(text)?);
    }
    wholes.sort_by_key(|whole| (whole.start, std::cmp::Reverse(whole.end)));
    let mut functions: Vec<Function> = Vec::new();
    for whole in wholes {
        if functions.last().is_none_or(|last| last.whole.end <= whole.start) {
            let body = body(text, &whole)?;
            functions.push(Function { whole, body });
        }
    }
    Ok(functions)
}

/// What is between the braces of a function. Braces in texts come in pairs: they are formats.
fn body(text: &str, whole: &Range<usize>) -> Result<Range<usize>> {
    let mut depth = 0_usize;
    for (at, letter) in part(text, whole.clone())?.char_indices().rev() {
        match letter {
            '}' => depth += 1,
            '{' if depth == 1 => return Ok(whole.start + at + 1..whole.end - 1),
            '{' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    let head = text.get(whole.clone()).and_then(|text| text.lines().next());
    bail!("no body is found of {}", head.unwrap_or_default())
}

fn part(text: &str, range: Range<usize>) -> Result<&str> {
    text.get(range.clone())
        .with_context(|| format!("there is no {range:?} in the text"))
}

#[cfg(test)]
mod tests {
    use super::super::{Function as Named, Place, Span};
    use super::*;

    const TEXT: &str = "const fn one() -> i32 {\n    1 + 2\n}\nfn two() {}\n";

    fn mutant(line: usize, columns: Range<usize>, replacement: &str, function: Span) -> Mutant {
        let place = |column| Place { line, column };
        Mutant {
            name: String::new(),
            file: String::new(),
            replacement: replacement.to_owned(),
            genre: String::new(),
            span: Span {
                start: place(columns.start),
                end: place(columns.end),
            },
            function: Some(Named {
                return_type: String::new(),
                span: function,
            }),
        }
    }

    #[test]
    fn a_function_has_a_body_for_each_of_its_mutants_and_keeps_its_own() {
        let function = Span {
            start: Place { line: 1, column: 1 },
            end: Place { line: 3, column: 2 },
        };
        let minus = mutant(2, 7..8, "-", function);
        let seven = mutant(2, 5..10, "7", function);
        let woven = weave(TEXT, &[(4, &minus), (9, &seven)]).unwrap();
        assert_eq!(
            woven.text,
            "fn one() -> i32 {\nmatch crate::mutant() {\n4 => {\n    1 - 2\n}\n9 => {\n    7\n}\n_ => {\n    1 + 2\n} }\n}\nfn two() {}\n"
        );
        let lines = woven.text.lines().zip(&woven.owners);
        let owned: Vec<_> = lines
            .filter(|(_, owner)| **owner == 4)
            .map(|(line, _)| line.trim())
            .collect();
        assert_eq!(owned, ["4 => {", "1 - 2", "}"]);
        assert_eq!(alone(TEXT, &minus).unwrap(), TEXT.replace('+', "-"));
    }

    #[test]
    fn a_place_that_is_not_there_is_an_error() {
        let function = Span {
            start: Place { line: 1, column: 1 },
            end: Place { line: 30, column: 2 },
        };
        assert!(weave(TEXT, &[(1, &mutant(2, 7..8, "-", function))]).is_err());
    }
}
