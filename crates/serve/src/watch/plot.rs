//! Plots as SVG, to stand inside a page.
//!
//! They are drawn in the colours of the light theme, as attributes; the style sheet of a dark page maps each
//! of these colours to its twin (a rule of CSS is stronger than an attribute of SVG). Text is drawn in the
//! page's own size, so a plot is asked for in the width that it will have.

use plotters::coord::Shift;
use plotters::prelude::*;

/// One colour for each line; readable on white, and told apart without colour vision by their lightness.
pub const SERIES: [RGBColor; 6] = [
    RGBColor(0x1d, 0x5f, 0xbf),
    RGBColor(0xc2, 0x41, 0x0c),
    RGBColor(0x0f, 0x76, 0x6e),
    RGBColor(0x7e, 0x22, 0xce),
    RGBColor(0xa1, 0x62, 0x07),
    RGBColor(0xbe, 0x12, 0x3c),
];
const TEXT: RGBColor = RGBColor(0x52, 0x5b, 0x68);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// Measured at every step, with its noise.
    Faint,
    Plain,
    /// Measured now and then: a dot for each.
    Dotted,
    /// A bound, not a measurement.
    Dashed,
}

/// A line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    pub points: Vec<(f64, f64)>,
    /// Into [`SERIES`], which is gone round.
    pub colour: usize,
    pub stroke: Stroke,
}

/// What a vertical axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Plain,
    /// Small numbers: `2e-4`.
    Scientific,
    /// Bytes, shown in MiB or GiB.
    Bytes,
}

/// Lines over steps.
#[derive(Clone, Debug)]
pub struct Plot {
    /// For those who do not see it, and for the tooltip.
    pub title: String,
    pub x_label: String,
    pub width: u32,
    pub height: u32,
    pub unit: Unit,
    /// Numbers as Russian writes them.
    pub russian: bool,
    /// Start the vertical axis at zero.
    pub from_zero: bool,
    pub lines: Vec<Line>,
}

impl Plot {
    /// The plot as an `<svg class="plot">`; without any point an empty frame.
    pub fn to_svg(&self) -> String {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (self.width, self.height)).into_drawing_area();
        // Drawing into a string cannot fail; a plot that did would only be missing.
        let drawn = self.draw(&area).and_then(|()| area.present());
        drop(area);
        if drawn.is_err() {
            svg.clear();
        }
        inline(&svg, self.width, self.height, Some(&self.title))
    }

    fn draw(
        &self,
        area: &DrawingArea<SVGBackend, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let (x, y) = self.ranges();
        // Ticks are round in the unit that is shown.
        let size = self.unit.size(y.end);
        let y = y.start / size..y.end / size;
        let (ticks, span) = ((self.height / 45).max(3), y.end - y.start);
        let axis = Axis { unit: self.unit, size, step: span / f64::from(ticks), russian: self.russian };
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(14)
            .x_label_area_size(36)
            .y_label_area_size(62)
            .build_cartesian_2d(x, y)?;
        let label = TextStyle::from(("sans-serif", 15).into_font()).color(&TEXT);
        chart
            .configure_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(label.clone())
            .axis_desc_style(label)
            .x_desc(self.x_label.as_str())
            .x_labels((self.width / 90).max(3) as usize)
            .y_labels(ticks as usize)
            .x_label_formatter(&|x| axis.step(*x))
            .y_label_formatter(&|y| axis.label(*y))
            .draw()?;
        for line in &self.lines {
            let colour = SERIES[line.colour % SERIES.len()];
            let points = line.points.iter().map(|(x, y)| (*x, y / size)).filter(|(_, y)| y.is_finite());
            match line.stroke {
                Stroke::Faint => {
                    chart.draw_series(LineSeries::new(points, colour.mix(0.35)))?;
                }
                Stroke::Plain => {
                    chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
                }
                Stroke::Dashed => {
                    chart.draw_series(DashedLineSeries::new(points, 6, 5, colour.stroke_width(2)))?;
                }
                Stroke::Dotted => {
                    chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
                    chart.draw_series(points.map(|point| Circle::new(point, 4, colour.filled())))?;
                }
            }
        }
        Ok(())
    }

    /// The least room that holds all lines, with some air above and below.
    fn ranges(&self) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
        let points = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| y.is_finite());
        let least = |pick: fn(&(f64, f64)) -> f64| points().map(pick).reduce(f64::min).unwrap_or(0.0);
        let most = |pick: fn(&(f64, f64)) -> f64| points().map(pick).reduce(f64::max).unwrap_or(1.0);
        let (left, right) = (least(|p| p.0).min(0.0), most(|p| p.0));
        let (low, high) = (least(|p| p.1), most(|p| p.1));
        let air = 0.06 * if high > low { high - low } else { high.abs().max(1.0) };
        let low = if self.from_zero { 0.0 } else { (low - air).max(if low >= 0.0 { 0.0 } else { f64::MIN }) };
        (left..right.max(left + 1.0), low..high + air)
    }
}

/// How the ticks of the axes are written.
struct Axis {
    unit: Unit,
    /// What one of the numbers beside the axis stands for.
    size: f64,
    /// Between two ticks, about.
    step: f64,
    russian: bool,
}

impl Axis {
    /// A tick of the vertical axis, with as many decimals as tell it from its neighbours.
    fn label(&self, value: f64) -> String {
        let decimals =
            if self.step >= 1.0 { 0 } else { (-self.step.log10()).ceil().clamp(0.0, 6.0) as usize };
        let number = match self.unit {
            Unit::Scientific => self.unit.label(value),
            Unit::Plain => self.grouped(value, decimals),
            Unit::Bytes if self.size >= GIB => format!("{} GiB", self.grouped(value, decimals)),
            Unit::Bytes => format!("{} MiB", self.grouped(value, decimals)),
        };
        if self.russian { number.replace('.', ",") } else { number }
    }

    /// A tick of the horizontal axis; there is nothing between two steps.
    fn step(&self, step: f64) -> String {
        if (step - step.round()).abs() < 1e-6 { self.grouped(step, 0) } else { String::new() }
    }

    /// `20,000` or, in Russian, `20 000` with a space that does not break.
    fn grouped(&self, value: f64, decimals: usize) -> String {
        let text = format!("{value:.decimals$}");
        let (whole, rest) = text.find('.').map_or((text.as_str(), ""), |at| text.split_at(at));
        let digits = whole.trim_start_matches('-').len();
        if digits <= 3 {
            return text;
        }
        let mut grouped = String::new();
        for (at, c) in whole.chars().enumerate() {
            let left = whole.len() - at;
            if at > 0 && left.is_multiple_of(3) && c.is_ascii_digit() && !grouped.ends_with('-') {
                grouped.push(if self.russian { '\u{a0}' } else { ',' });
            }
            grouped.push(c);
        }
        grouped + rest
    }
}

const MIB: f64 = (1 << 20) as f64;
const GIB: f64 = 1024.0 * MIB;

impl Unit {
    /// What a number beside an axis that goes to `most` stands for.
    fn size(self, most: f64) -> f64 {
        match self {
            Unit::Bytes if most >= GIB => GIB,
            Unit::Bytes => MIB,
            Unit::Plain | Unit::Scientific => 1.0,
        }
    }

    /// A single value.
    pub fn label(self, value: f64) -> String {
        match self {
            Unit::Plain if value.abs() >= 100.0 => format!("{value:.0}"),
            Unit::Plain if value.abs() >= 10.0 => format!("{value:.1}"),
            Unit::Plain => format!("{value:.2}"),
            Unit::Scientific if value == 0.0 => "0".to_string(),
            Unit::Scientific => format!("{value:.1e}"),
            Unit::Bytes if value >= GIB => format!("{:.1} GiB", value / GIB),
            Unit::Bytes => format!("{:.0} MiB", value / MIB),
        }
    }
}

/// A bar of a [`bars`] picture: its length from 0 to 1, and the interval that it may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    pub value: f64,
    pub interval: Option<[f64; 2]>,
    /// Into [`SERIES`].
    pub colour: usize,
}

/// Bars one under another, without text: the figures stand beside them in a table.
pub fn bars(bars: &[Bar], width: u32) -> String {
    const THICK: i32 = 9;
    const GAP: i32 = 5;
    let height = (bars.len() as i32 * (THICK + GAP) + GAP) as u32;
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
    let x = |share: f64| (share.clamp(0.0, 1.0) * f64::from(width - 2)) as i32 + 1;
    let draw = || -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        for (bar, top) in bars.iter().zip((GAP..).step_by((THICK + GAP) as usize)) {
            let colour = SERIES[bar.colour % SERIES.len()];
            area.draw(&Rectangle::new([(x(0.0), top), (x(1.0), top + THICK)], GRID.filled()))?;
            area.draw(&Rectangle::new([(x(0.0), top), (x(bar.value), top + THICK)], colour.filled()))?;
            if let Some([low, high]) = bar.interval {
                let middle = top + THICK / 2;
                area.draw(&PathElement::new(
                    vec![(x(low), middle), (x(high), middle)],
                    TEXT.stroke_width(2),
                ))?;
            }
        }
        area.present()
    };
    let drawn = draw();
    drop(area);
    if drawn.is_err() {
        svg.clear();
    }
    inline(&svg, width, height, None)
}

/// The drawing with a head of ours: it takes the width it is given, and is told or kept from readers.
fn inline(svg: &str, width: u32, height: u32, title: Option<&str>) -> String {
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let body = body.strip_suffix("</svg>\n").or_else(|| body.strip_suffix("</svg>")).unwrap_or_default();
    let told = match title {
        Some(title) => {
            let title = tolmach_translate::quality::escape(title);
            format!("role=\"img\" aria-label=\"{title}\"")
        }
        None => "aria-hidden=\"true\"".to_string(),
    };
    format!(
        "<svg class=\"plot\" viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\" {told}>\n{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(unit: Unit, size: f64, step: f64, russian: bool) -> Axis {
        Axis { unit, size, step, russian }
    }

    #[test]
    fn ticks_are_written_alike_and_as_the_language_writes_numbers() {
        let plain = |step, russian| axis(Unit::Plain, 1.0, step, russian);
        assert_eq!([0.0, 5.0, 20_000.0].map(|y| plain(2500.0, false).label(y)), ["0", "5", "20,000"]);
        assert_eq!([2500.0, 20_000.0].map(|y| plain(2500.0, true).label(y)), ["2\u{a0}500", "20\u{a0}000"]);
        assert_eq!([0.0, 0.5, 10.0].map(|y| plain(0.4, true).label(y)), ["0,0", "0,5", "10,0"]);
        assert_eq!(plain(0.03, false).label(0.05), "0.05");
        assert_eq!(plain(1.0, false).grouped(-1_234_567.0, 1), "-1,234,567.0");
        let memory = axis(Unit::Bytes, Unit::Bytes.size(70.0 * MIB), 20.0, false);
        assert_eq!([0.0, 60.0].map(|y| memory.label(y)), ["0 MiB", "60 MiB"]);
        assert_eq!(axis(Unit::Bytes, Unit::Bytes.size(3.0 * GIB), 0.5, true).label(2.5), "2,5 GiB");
        assert_eq!([1.0, 1.5, 1200.0].map(|x| plain(1.0, false).step(x)), ["1", "", "1,200"]);
    }
}
