//! Trained tensors, and weights that may or may not be trained.

use std::sync::Arc;
use tolmach_engine::{Backend, Mat};

/// A trained tensor and its gradient. A vector has one row.
pub struct Parameter<B: Backend> {
    /// As the file that will hold it names it (PEFT's or Hugging Face's name).
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    pub value: B::Buffer,
    pub grad: B::Buffer,
}

impl<B: Backend> Parameter<B> {
    pub fn new(backend: &B, name: String, rows: usize, cols: usize, values: &[f32]) -> Self {
        assert_eq!(values.len(), rows * cols, "{name}: values must fill the tensor");
        Self { name, rows, cols, value: backend.upload(values), grad: backend.zeros(rows * cols) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn to_f32(&self, backend: &B) -> Vec<f32> {
        let mut values = vec![0.0; self.len()];
        backend.download(&self.value, &mut values);
        values
    }
}

/// Which weights a pass uses: the adapter's, or the untouched base's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Base,
    Tuned,
}

/// A matrix `[rows, cols]` that is frozen, or trained in full.
pub enum Weight<B: Backend> {
    Frozen(Arc<B::Matrix>),
    Trained {
        parameter: Parameter<B>,
        /// The untouched original beside a copy of `modules_to_save`; `None` when the model itself is trained.
        base: Option<Arc<B::Matrix>>,
    },
}

impl<B: Backend> Weight<B> {
    pub fn mat(&self, side: Side) -> Mat<'_, B> {
        match self {
            Weight::Frozen(matrix) => Mat::Frozen(&**matrix),
            Weight::Trained { base: Some(base), .. } if side == Side::Base => Mat::Frozen(&**base),
            Weight::Trained { parameter, .. } => Mat::Dense(&parameter.value),
        }
    }

    pub fn parameter_mut(&mut self) -> Option<&mut Parameter<B>> {
        match self {
            Weight::Frozen(_) => None,
            Weight::Trained { parameter, .. } => Some(parameter),
        }
    }

    pub fn is_trained(&self) -> bool {
        matches!(self, Weight::Trained { .. })
    }
}

/// A norm's weight `[C]`: always dense, seldom trained.
pub struct NormWeight<B: Backend> {
    pub parameter: Parameter<B>,
    pub trained: bool,
}

impl<B: Backend> NormWeight<B> {
    /// The weight, and where its gradient goes if it is trained.
    pub fn split(&mut self) -> (&B::Buffer, Option<&mut B::Buffer>) {
        let Parameter { value, grad, .. } = &mut self.parameter;
        (value, self.trained.then_some(grad))
    }
}
