//! Whether a predicate chooses rows at all: `1=1`, `'a'='a'`, `id=id` and their like do not.

use std::cmp::Ordering;

use sqlparser::ast::{BinaryOperator, Expr, SelectItem, SetExpr, UnaryOperator, Value};

/// What a predicate comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    /// True of every row.
    Always,
    /// True of no row.
    Never,
    /// It depends on the row.
    Depends,
}

/// Whether a statement with this predicate spares any row.
pub(super) fn is_real(selection: Option<&Expr>) -> bool {
    selection.is_some_and(|expr| truth(expr) != Truth::Always)
}

/// What the predicate comes to. The parser bounds its depth.
pub(super) fn truth(expr: &Expr) -> Truth {
    match expr {
        Expr::Nested(inner) | Expr::IsTrue(inner) | Expr::IsNotFalse(inner) => truth(inner),
        Expr::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, expr }
        | Expr::IsFalse(expr)
        | Expr::IsNotTrue(expr) => match truth(expr) {
            Truth::Always => Truth::Never,
            Truth::Never => Truth::Always,
            Truth::Depends => Truth::Depends,
        },
        Expr::Value(value) => of_value(&value.value),
        Expr::BinaryOp { left, op, right } => of_operation(left, op, right),
        Expr::IsNotNull(inner) => {
            if is_row_value(inner) {
                Truth::Always
            } else {
                Truth::Depends
            }
        }
        Expr::Like { negated: false, pattern, .. } | Expr::ILike { negated: false, pattern, .. } => {
            match text_of(pattern) {
                Some(pattern) if pattern.chars().all(|c| c == '%') => Truth::Always,
                Some(_) | None => Truth::Depends,
            }
        }
        Expr::InList { expr, list, negated: false } => {
            let known =
                literal(expr).is_some_and(|value| list.iter().any(|item| literal(item).as_ref() == Some(&value)));
            if known || list.iter().any(|item| item == expr.as_ref()) { Truth::Always } else { Truth::Depends }
        }
        Expr::Between { expr, low, high, negated: false } => {
            if [expr, low, high].into_iter().all(|e| literal(e).is_some()) { Truth::Always } else { Truth::Depends }
        }
        Expr::Exists { subquery, negated: false } => match subquery.body.as_ref() {
            SetExpr::Select(select) if select.from.is_empty() => Truth::Always,
            _ => Truth::Depends,
        },
        _ => Truth::Depends,
    }
}

/// Whether somewhere in the disjunctions a comparison of constants makes the whole true: `name = 'x' OR 1=1`.
pub(super) fn has_injected_tautology(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => has_injected_tautology(inner),
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            let constant = |e: &Expr| !matches!(strip(e), Expr::Value(_)) && truth(e) == Truth::Always;
            let one_sided = |a: &Expr, b: &Expr| constant(a) && truth(b) != Truth::Always;
            one_sided(left, right)
                || one_sided(right, left)
                || has_injected_tautology(left)
                || has_injected_tautology(right)
        }
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            has_injected_tautology(left) || has_injected_tautology(right)
        }
        _ => false,
    }
}

fn of_operation(left: &Expr, op: &BinaryOperator, right: &Expr) -> Truth {
    match op {
        BinaryOperator::And => match (truth(left), truth(right)) {
            (Truth::Never, _) | (_, Truth::Never) => Truth::Never,
            (Truth::Always, other) | (other, Truth::Always) => other,
            (Truth::Depends, Truth::Depends) => Truth::Depends,
        },
        BinaryOperator::Or => match (truth(left), truth(right)) {
            (Truth::Always, _) | (_, Truth::Always) => Truth::Always,
            (Truth::Never, other) | (other, Truth::Never) => other,
            (Truth::Depends, Truth::Depends) => Truth::Depends,
        },
        BinaryOperator::Eq | BinaryOperator::Spaceship | BinaryOperator::GtEq | BinaryOperator::LtEq
            if is_same_column(left, right) =>
        {
            Truth::Always
        }
        BinaryOperator::Gt | BinaryOperator::GtEq | BinaryOperator::NotEq if is_above_every_id(left, right) => {
            Truth::Always
        }
        _ => of_constants(left, op, right),
    }
}

fn of_constants(left: &Expr, op: &BinaryOperator, right: &Expr) -> Truth {
    let (Some(a), Some(b)) = (literal(left), literal(right)) else { return Truth::Depends };
    let order = match (a.parse::<i128>(), b.parse::<i128>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (_, _) => a.cmp(&b),
    };
    let holds = match op {
        BinaryOperator::Eq | BinaryOperator::Spaceship => order == Ordering::Equal,
        BinaryOperator::NotEq => order != Ordering::Equal,
        BinaryOperator::Lt => order == Ordering::Less,
        BinaryOperator::LtEq => order != Ordering::Greater,
        BinaryOperator::Gt => order == Ordering::Greater,
        BinaryOperator::GtEq => order != Ordering::Less,
        _ => return Truth::Depends,
    };
    if holds { Truth::Always } else { Truth::Never }
}

fn of_value(value: &Value) -> Truth {
    match value {
        Value::Boolean(true) => Truth::Always,
        Value::Boolean(false) | Value::Null => Truth::Never,
        Value::Number(text, _) => {
            if text.chars().any(|c| ('1'..='9').contains(&c)) {
                Truth::Always
            } else {
                Truth::Never
            }
        }
        Value::SingleQuotedString(text) => {
            if text.trim_start().starts_with(|c: char| ('1'..='9').contains(&c)) {
                Truth::Always
            } else {
                Truth::Depends
            }
        }
        _ => Truth::Depends,
    }
}

fn strip(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => strip(inner),
        other => other,
    }
}

/// The value of a constant as text: numbers and strings, sums of numbers not computed.
fn literal(expr: &Expr) -> Option<String> {
    match strip(expr) {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _)
            | Value::SingleQuotedString(text)
            | Value::DoubleQuotedString(text)
            | Value::NationalStringLiteral(text)
            | Value::HexStringLiteral(text) => Some(text.clone()),
            Value::Boolean(b) => Some(b.to_string()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => literal(expr).map(|text| format!("-{text}")),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => literal(expr),
        _ => None,
    }
}

fn text_of(expr: &Expr) -> Option<String> {
    match strip(expr) {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn column(expr: &Expr) -> Option<String> {
    match strip(expr) {
        Expr::Identifier(ident) => Some(ident.value.to_ascii_lowercase()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.to_ascii_lowercase()),
        _ => None,
    }
}

fn is_same_column(left: &Expr, right: &Expr) -> bool {
    column(left).is_some() && strip(left) == strip(right)
}

/// `id > 0`, `id <> -1`: true of every row there is.
fn is_above_every_id(left: &Expr, right: &Expr) -> bool {
    let is_id = column(left).is_some_and(|c| c == "id" || c == "rowid" || c == "_rowid_" || c.ends_with("_id"));
    is_id && literal(right).is_some_and(|text| matches!(text.as_str(), "0" | "-1"))
}

/// `id IS NOT NULL`: keys never are null.
fn is_row_value(expr: &Expr) -> bool {
    literal(expr).is_some() || column(expr).is_some_and(|c| c == "id" || c == "rowid")
}

/// Whether the item is a constant: padding in an injected `UNION SELECT`.
pub(super) fn is_constant(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(expr) => {
            literal(expr).is_some() || matches!(expr, Expr::Value(v) if v.value == Value::Null)
        }
        _ => false,
    }
}
