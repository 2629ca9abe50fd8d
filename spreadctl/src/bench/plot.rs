//! Rate and latency against message size, as SVG, which is little enough to write
//! by hand.

use super::options::Workload;
use super::outcome::Row;

/// Of a panel, with what is around its axes: at the right is the legend.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 330.0;
const TOP: f64 = 25.0;
const BOTTOM: f64 = 55.0;

/// Colours that can be told apart by those who do not see all of them.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999"];

pub(super) fn of(rows: &[Row]) -> String {
    let mut rates = Vec::new();
    let mut latencies = Vec::new();
    for row in rows {
        let Some(figures) = row.median() else { continue };
        if row.case.workload == Workload::PingPong {
            add(&mut latencies, row, ", p50", figures.latency.map(|latency| latency.p50));
            add(&mut latencies, row, ", p99", figures.latency.map(|latency| latency.p99));
        } else {
            add(&mut rates, row, "", Some(figures.rate));
        }
    }
    let panels = [("messages delivered/s", rates), ("round trip, µs", latencies)];
    let panels = panels.into_iter().filter(|(_, lines)| !lines.is_empty());
    let panels: Vec<_> = panels.map(|(unit, lines)| panel(unit, &lines)).collect();

    let height = HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let y = HEIGHT * number as f64;
        svg += &format!("<g transform=\"translate(0 {y})\">\n{panel}</g>\n");
    }
    svg + "</svg>\n"
}

/// A figure of one workload at one side, for each size.
struct Line {
    label: String,
    points: Vec<(f64, f64)>,
}

fn add(lines: &mut Vec<Line>, row: &Row, figure: &str, value: Option<f64>) {
    let Some(value) = value.filter(|value| *value > 0.0) else { return };
    let label = format!("{}{figure}: {}", row.case, row.side);
    let point = (row.case.size.max(1) as f64, value);
    match lines.iter_mut().find(|line| line.label == label) {
        Some(line) => line.points.push(point),
        None => lines.push(Line { label, points: vec![point] }),
    }
}

fn panel(unit: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let x = Axis::over(points().map(|point| point.0), 2.0, LEFT, WIDTH - RIGHT);
    let y = Axis::over(points().map(|point| point.1), 10.0, HEIGHT - BOTTOM, TOP);

    let mut svg = String::new();
    for decade in y.steps() {
        let at = y.place(decade);
        svg += &line((LEFT, at), (WIDTH - RIGHT, at), "#ddd");
        svg += &text((LEFT - 8.0, at + 4.0), "end", &short(decade));
    }
    let mut sizes: Vec<_> = points().map(|point| point.0).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.dedup();
    for size in sizes {
        let at = x.place(size);
        svg += &line((at, TOP), (at, HEIGHT - BOTTOM), "#eee");
        svg += &text((at, HEIGHT - BOTTOM + 20.0), "middle", &bytes(size));
    }
    svg += &line((LEFT, TOP), (LEFT, HEIGHT - BOTTOM), "black");
    svg += &line((LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM), "black");
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    svg += &text((middle, HEIGHT - BOTTOM + 42.0), "middle", "message size");
    svg += &text((LEFT, TOP - 8.0), "middle", unit);

    for (number, series) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        // Once the colours are used up, dashes go on.
        let dash = 4 * (number / COLOURS.len());
        let places: Vec<_> =
            series.points.iter().map(|(size, value)| (x.place(*size), y.place(*value))).collect();
        let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dash}\"/>\n",
            path.join(" ")
        );
        for (x, y) in places {
            svg += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>\n");
        }
        let (at, row) = (WIDTH - RIGHT + 20.0, TOP + 10.0 + 20.0 * number as f64);
        svg += &format!("<circle cx=\"{at}\" cy=\"{row}\" r=\"4\" fill=\"{colour}\"/>\n");
        svg += &text((at + 12.0, row + 4.0), "start", &series.label);
    }
    svg
}

/// A logarithmic axis from one place on the paper to another.
struct Axis {
    base: f64,
    /// The least and the greatest exponent.
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    /// Over all values, up to the next whole exponents.
    fn over(values: impl Iterator<Item = f64>, base: f64, begin: f64, end: f64) -> Axis {
        let exponents = values.map(|value| value.log(base));
        let (from, to) = exponents.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), value| {
            (from.min(value.floor()), to.max(value.ceil()))
        });
        Axis { base, from, to: to.max(from + 1.0), begin, end }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.log(self.base) - self.from) / (self.to - self.from);
        self.begin + part * (self.end - self.begin)
    }

    fn steps(&self) -> impl Iterator<Item = f64> {
        (self.from as i32..=self.to as i32).map(|exponent| self.base.powi(exponent))
    }
}

fn line(from: (f64, f64), to: (f64, f64), colour: &str) -> String {
    format!(
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\n",
        from.0, from.1, to.0, to.1
    )
}

fn text(at: (f64, f64), anchor: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let (x, y) = at;
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        _ => value.to_string(),
    }
}

fn bytes(size: f64) -> String {
    match size {
        1024.0.. if size % 1024.0 == 0.0 => format!("{} KiB", size / 1024.0),
        _ => format!("{size} B"),
    }
}
