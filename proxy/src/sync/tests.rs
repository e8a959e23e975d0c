//! The line to the control plane, against a small fake one.
