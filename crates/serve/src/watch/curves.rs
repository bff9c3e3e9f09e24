//! The curves of training runs: which lines each of them has.

use super::plot::{Line, Plot, Stroke, Unit};
use super::series::{Series, Step};

/// What is drawn over the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    Loss,
    LearningRate,
    GradNorm,
    TokensPerSecond,
    Memory,
}

/// Points of a line; more are put together by their mean.
const POINTS: usize = 500;

impl Curve {
    /// By the word in an address.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "loss" => Self::Loss,
            "learning-rate" => Self::LearningRate,
            "gradient-norm" => Self::GradNorm,
            "tokens-per-second" => Self::TokensPerSecond,
            "memory" => Self::Memory,
            _ => return None,
        })
    }

    /// English and Russian.
    fn titles(self) -> [&'static str; 2] {
        match self {
            Self::Loss => ["Loss, nats per token", "Потери, нат на токен"],
            Self::LearningRate => ["Learning rate", "Скорость обучения"],
            Self::GradNorm => ["Gradient norm before clipping", "Норма градиента до обрезки"],
            Self::TokensPerSecond => ["Tokens per second", "Токенов в секунду"],
            Self::Memory => ["Memory held, and planned (dashed)", "Память: занято и по плану (пунктир)"],
        }
    }

    fn pick(self, step: &Step) -> f64 {
        match self {
            Self::Loss => step.loss,
            Self::LearningRate => step.learning_rate,
            Self::GradNorm => step.grad_norm,
            Self::TokensPerSecond => step.tokens_per_second,
            Self::Memory => step.resident_bytes,
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::LearningRate => Unit::Scientific,
            Self::Memory => Unit::Bytes,
            _ => Unit::Plain,
        }
    }
}

/// One plot that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Drawing {
    pub curve: Curve,
    /// Pixels.
    pub width: u32,
    pub russian: bool,
}

impl Drawing {
    /// The plot of runs, each with the bytes that its plan said; the place of a run is its colour.
    pub fn svg(&self, runs: &[(Series, Option<u64>)]) -> String {
        let lines = runs
            .iter()
            .enumerate()
            .flat_map(|(colour, (series, planned))| self.lines(series, *planned, colour));
        let height = if self.curve == Curve::Loss { 300 } else { 200 };
        Plot {
            title: self.title(runs),
            x_label: if self.russian { "шаг" } else { "step" }.to_string(),
            width: self.width,
            height,
            unit: self.curve.unit(),
            russian: self.russian,
            from_zero: !matches!(self.curve, Curve::Loss),
            lines: lines.collect(),
        }
        .to_svg()
    }

    fn lines(&self, series: &Series, planned: Option<u64>, colour: usize) -> Vec<Line> {
        let points: Vec<(f64, f64)> =
            series.steps.iter().map(|step| (step.step as f64, self.curve.pick(step))).collect();
        let line = |points: Vec<(f64, f64)>, stroke| Line { points, colour, stroke };
        match self.curve {
            Curve::Loss => {
                let evaluations = series.evaluations.iter().map(|e| (e.step as f64, e.loss));
                vec![
                    line(thinned(&points), Stroke::Faint),
                    line(thinned(&smoothed(&points)), Stroke::Plain),
                    line(evaluations.collect(), Stroke::Dotted),
                ]
            }
            Curve::GradNorm | Curve::TokensPerSecond => {
                vec![line(thinned(&points), Stroke::Faint), line(thinned(&smoothed(&points)), Stroke::Plain)]
            }
            Curve::Memory => {
                let ends = [points.first(), points.last()].into_iter().flatten().map(|(x, _)| *x);
                let plan = planned.map(|bytes| ends.map(|x| (x, bytes as f64)).collect());
                let plan = plan.map(|points| line(points, Stroke::Dashed));
                [Some(line(thinned(&points), Stroke::Plain)), plan].into_iter().flatten().collect()
            }
            Curve::LearningRate => vec![line(thinned(&points), Stroke::Plain)],
        }
    }

    /// What the plot shows, for those who do not see it: its name, and the last value of each run.
    fn title(&self, runs: &[(Series, Option<u64>)]) -> String {
        let [english, russian] = self.curve.titles();
        let mut title = if self.russian { russian } else { english }.to_string();
        for (series, _) in runs {
            if let Some(last) = series.steps.last().filter(|last| self.curve.pick(last).is_finite()) {
                let word = if self.russian { "шаг" } else { "step" };
                title +=
                    &format!("; {word} {}: {}", last.step, self.curve.unit().label(self.curve.pick(last)));
            }
        }
        title
    }
}

/// A running mean that forgets: over a thirtieth of the run, five steps at least.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 30.0).max(5.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let mut smooth = |&(x, y): &(f64, f64)| {
        // Started from nothing, and divided by what has come in: as Adam corrects its moments.
        mean = keep * mean + (1.0 - keep) * y;
        weight = keep * weight + (1.0 - keep);
        (x, mean / weight)
    };
    points.iter().filter(|(_, y)| y.is_finite()).map(&mut smooth).collect()
}

/// At most [`POINTS`] points, neighbours put together by their mean; the last one stays.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(POINTS).max(1);
    let mean = |run: &[(f64, f64)]| {
        let count = run.len() as f64;
        (run.iter().map(|p| p.0).sum::<f64>() / count, run.iter().map(|p| p.1).sum::<f64>() / count)
    };
    let mut thin: Vec<(f64, f64)> = points.chunks(size).map(mean).collect();
    if size > 1 {
        thin.extend(points.last());
    }
    thin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::series::Evaluation;

    fn series(steps: u64) -> Series {
        let step = |step: u64| Step {
            step,
            epoch: 0.1,
            loss: 5.0 / step as f64,
            learning_rate: 1e-4,
            grad_norm: f64::NAN,
            tokens: 10 * step,
            tokens_per_second: 50.0,
            seconds: step as f64,
            resident_bytes: 2e8,
        };
        let evaluations = vec![Evaluation { step: 0, loss: 6.0 }, Evaluation { step: steps, loss: 1.0 }];
        let mut series = Series::default();
        (series.steps, series.evaluations) = ((1..=steps).map(step).collect(), evaluations);
        series
    }

    #[test]
    fn thinning_and_smoothing_keep_the_ends_and_the_level() {
        let points: Vec<(f64, f64)> = (0..10_007).map(|i| (f64::from(i), 3.0)).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS + 1 && thin.last() == points.last());
        assert!(smoothed(&points).iter().all(|(_, y)| (y - 3.0).abs() < 1e-9), "no start from zero");
        let short = [(1.0, 2.0), (2.0, 4.0)];
        assert_eq!(thinned(&short), short);
    }

    #[test]
    fn every_curve_is_drawn_whatever_is_missing() {
        for name in ["loss", "learning-rate", "gradient-norm", "tokens-per-second", "memory"] {
            let curve = Curve::named(name).unwrap();
            for runs in
                [vec![], vec![(Series::default(), None)], vec![(series(1), Some(1)), (series(40), None)]]
            {
                for russian in [false, true] {
                    let svg = Drawing { curve, width: 320, russian }.svg(&runs);
                    assert!(svg.starts_with("<svg class=\"plot\"") && svg.ends_with("</svg>\n"), "{svg}");
                    assert!(svg.contains(if russian { "шаг" } else { "step" }), "{svg}");
                    assert!(!svg.contains("NaN") && !svg.contains("style="), "{svg}");
                    assert!(!svg.contains("inf"), "{svg}");
                }
            }
        }
        assert_eq!(Curve::named("../secret"), None);
        let two = Drawing { curve: Curve::Loss, width: 640, russian: false };
        let svg = two.svg(&[(series(30), None), (series(50), None)]);
        assert!(svg.contains("step 30: 0.17; step 50: 0.10"), "{svg}");
        // The dots of both runs' evaluations, in their colours.
        for colour in ["#1D5FBF", "#C2410C"] {
            assert_eq!(svg.matches("<circle").count(), 4);
            assert!(svg.contains(colour), "{svg}");
        }
    }
}
