//! Curves of evidence over time: in the terminal, and as an SVG.

use std::fmt::Write as _;

/// Evidence as powers of ten, over time.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows, for those who cannot see it.
    pub title: String,
    /// What the horizontal axis counts.
    pub across: String,
    /// Longest time shown.
    pub until: f64,
    /// The curves.
    pub curves: Vec<Curve>,
    /// Where evidence decides: power of ten, and what happens there.
    pub threshold: (f64, String),
    /// Words in the picture: at which time and power of ten, in which colour.
    pub words: Vec<(f64, f64, &'static str, String)>,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Time and power of ten.
    pub points: Vec<(f64, f64)>,
    /// Colour in an SVG.
    pub colour: &'static str,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = HEIGHT - 50.0;
/// Powers of ten that are shown, from and to.
const DECADES: (f64, f64) = (-3.0, 5.0);
/// Columns and rows of a picture in the terminal.
const COLUMNS: usize = 64;
const ROWS: usize = 9;

/// Where a power of ten lies between the lowest and the highest shown, 0 to 1.
fn height(decade: f64) -> f64 {
    (decade.clamp(DECADES.0, DECADES.1) - DECADES.0) / (DECADES.1 - DECADES.0)
}

/// Evidence in words.
fn label(decade: f64) -> String {
    match decade {
        _ if decade < 0.0 => format!("1/{:.0}", 10f64.powf(-decade)),
        _ => format!("{:.0}", 10f64.powf(decade)),
    }
}

impl Chart {
    /// The picture as an SVG.
    pub fn svg(&self) -> String {
        let x = |time: f64| LEFT + (RIGHT - LEFT) * time / self.until.max(f64::MIN_POSITIVE);
        let y = |decade: f64| BOTTOM - (BOTTOM - TOP) * height(decade);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<title>{}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n",
            escaped(&self.title)
        );
        let mut text = |x: f64, y: f64, anchor: &str, colour: &str, words: &str| {
            // Writing to a String does not fail.
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
                escaped(words)
            );
        };
        for decade in [-2.0, 0.0, 2.0, 4.0] {
            text(LEFT - 8.0, y(decade) + 4.0, "end", "black", &label(decade));
        }
        for quarter in 0..=4 {
            let time = self.until * f64::from(quarter) / 4.0;
            text(
                x(time),
                BOTTOM + 18.0,
                "middle",
                "black",
                &format!("{}", (time * 10.0).round() / 10.0),
            );
        }
        let (at, words) = &self.threshold;
        text(RIGHT, y(*at) - 7.0, "end", "black", words);
        for (time, decade, colour, words) in &self.words {
            text(x(*time), y(*decade), "start", colour, words);
        }
        text(
            f64::midpoint(LEFT, RIGHT),
            HEIGHT - 12.0,
            "middle",
            "black",
            &self.across,
        );
        let middle = HEIGHT / 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"18\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {middle})\">evidence</text>"
        );
        let mut line = |decade: f64, style: &str| {
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{0:.1}\" y2=\"{0:.1}\" {style}/>",
                y(decade)
            );
        };
        for decade in [-2.0, 0.0, 4.0] {
            line(decade, "stroke=\"#ddd\"");
        }
        line(*at, "stroke=\"black\" stroke-dasharray=\"6 4\"");
        for curve in &self.curves {
            let points: Vec<String> = curve
                .points
                .iter()
                .map(|(time, decade)| format!("{:.1},{:.1}", x(*time), y(*decade)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-opacity=\"0.55\" stroke-width=\"1.3\"/>",
                points.join(" "),
                curve.colour
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The picture in characters.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shares between 0 and 1 of a small number of cells"
    )]
    pub fn text(&self) -> String {
        let cell = |share: f64, cells: usize| ((share * (cells - 1) as f64).round() as usize).min(cells - 1);
        let row = |decade: f64| ROWS - 1 - cell(height(decade), ROWS);
        let mut rows = vec![vec![' '; COLUMNS]; ROWS];
        let mut put = |column: usize, row: usize, mark: char| {
            if let Some(cell) = rows.get_mut(row).and_then(|row| row.get_mut(column)) {
                *cell = mark;
            }
        };
        (0..COLUMNS).for_each(|column| put(column, row(self.threshold.0), '┄'));
        for curve in &self.curves {
            for (time, decade) in &curve.points {
                let share = (time / self.until.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
                put(cell(share, COLUMNS), row(*decade), '●');
            }
        }
        let mut text = String::new();
        for (number, cells) in rows.iter().enumerate() {
            let decade = DECADES.1 - (DECADES.1 - DECADES.0) * number as f64 / (ROWS - 1) as f64;
            let cells: String = cells.iter().collect();
            let _ = writeln!(text, "  {:>7} │{}", label(decade.round()), cells.trim_end());
        }
        let _ = writeln!(text, "          └{}", "─".repeat(COLUMNS));
        let until = format!("{:.1} {}", self.until, self.across);
        let _ = writeln!(text, "           0{until:>width$}", width = COLUMNS - 1);
        text
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "a < b".into(),
            across: "minutes".into(),
            until: 10.0,
            curves: vec![Curve {
                points: vec![(0.0, 0.0), (5.0, 1.0), (10.0, 9.0)],
                colour: "#c33",
            }],
            threshold: (2.0, "withdrawn".into()),
            words: Vec::new(),
        }
    }

    #[test]
    fn the_picture_in_characters_shows_the_curve_and_where_it_decides() {
        let text = chart().text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].ends_with('●'),
            "beyond the top it stays at the top: {text}"
        );
        assert!(lines[3].contains("100 │┄┄┄"), "{text}");
        assert!(lines[5].contains(" 1 │●"), "{text}");
    }

    #[test]
    fn words_cannot_break_the_svg() {
        assert!(chart().svg().contains("<title>a &lt; b</title>"));
    }
}
