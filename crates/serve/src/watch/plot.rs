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
            .y_labels((self.height / 45).max(3) as usize)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| self.unit.label(*y))
            .draw()?;
        for line in &self.lines {
            let colour = SERIES[line.colour % SERIES.len()];
            let points = line.points.iter().copied().filter(|(_, y)| y.is_finite());
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

impl Unit {
    pub fn label(self, value: f64) -> String {
        const MIB: f64 = (1 << 20) as f64;
        match self {
            Unit::Plain if value.abs() >= 100.0 => format!("{value:.0}"),
            Unit::Plain if value.abs() >= 10.0 => format!("{value:.1}"),
            Unit::Plain => format!("{value:.2}"),
            Unit::Scientific if value == 0.0 => "0".to_string(),
            Unit::Scientific => format!("{value:.1e}"),
            Unit::Bytes if value >= 1024.0 * MIB => format!("{:.1} GiB", value / MIB / 1024.0),
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
