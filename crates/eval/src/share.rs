//! A share of replies, with its confidence interval.

/// `count` replies out of `of`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub count: usize,
    pub of: usize,
}

/// Of the normal distribution, for a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

impl Share {
    /// From 0 to 1; `None` of nothing.
    pub fn value(self) -> Option<f64> {
        (self.of > 0).then(|| self.count as f64 / self.of as f64)
    }

    /// The 95 % interval of Wilson (1927), which unlike ±1.96 σ is right near 0 and 1 and for few
    /// replies: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n). `None` of nothing.
    pub fn interval(self) -> Option<[f64; 2]> {
        let (p, n) = (self.value()?, self.of as f64);
        let z2 = Z * Z;
        let middle = p + z2 / (2.0 * n);
        let spread = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z2 / n;
        Some([((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0)])
    }
}

/// How many are true, of how many.
impl FromIterator<bool> for Share {
    fn from_iter<I: IntoIterator<Item = bool>>(all: I) -> Self {
        all.into_iter()
            .fold(Share::default(), |s, hit| Share { count: s.count + usize::from(hit), of: s.of + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_intervals_are_those_of_the_literature() {
        // Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for ((count, of), [low, high]) in [
            ((81, 263), [0.2553, 0.3662]),
            ((15, 148), [0.0624, 0.1605]),
            ((0, 20), [0.0, 0.1611]),
            ((1, 29), [0.0061, 0.1718]),
        ] {
            let [l, h] = Share { count, of }.interval().unwrap();
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{count} of {of}: {l} {h}");
        }
    }

    #[test]
    fn nothing_has_no_share() {
        let none: Share = std::iter::empty().collect();
        assert_eq!((none.value(), none.interval()), (None, None));
        let some: Share = [true, false, true, true].into_iter().collect();
        assert_eq!((some, some.value()), (Share { count: 3, of: 4 }, Some(0.75)));
        let all = Share { count: 5, of: 5 }.interval().unwrap();
        assert!(all[1] == 1.0 && all[0] < 0.6, "five of five prove little: {all:?}");
    }
}
