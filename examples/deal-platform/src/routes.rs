use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use outbox::relay::PublishPath;
use serde::{Deserialize, Serialize};

use crate::{DealClosed, Platform, QuoteMoved};

/// The platform as a service.
pub fn routes(platform: &Arc<Platform>) -> Router {
    Router::new()
        .route("/deals", post(close))
        .route("/quotes", post(moved))
        .route("/relay", post(start_relay))
        .route("/figures", get(figures))
        .route("/readyz", get(ready))
        .with_state(Arc::clone(platform))
}

type Failure = (StatusCode, String);

fn failure(error: impl std::fmt::Display) -> Failure {
    tracing::error!(%error, "a request failed");
    (StatusCode::INTERNAL_SERVER_ERROR, "try again later\n".to_owned())
}

#[derive(Deserialize)]
struct NewDeal {
    customer: String,
    amount: i64,
}

async fn close(
    State(platform): State<Arc<Platform>>,
    Json(NewDeal { customer, amount }): Json<NewDeal>,
) -> Result<(StatusCode, Json<DealClosed>), Failure> {
    let closed = platform.deals.close(customer, amount).await.map_err(failure)?;
    Ok((StatusCode::CREATED, Json(closed)))
}

async fn moved(
    State(platform): State<Arc<Platform>>,
    Json(quote): Json<QuoteMoved>,
) -> Result<(StatusCode, &'static str), Failure> {
    let path = platform.quotes.moved(&quote).await.map_err(failure)?;
    let path = match path {
        PublishPath::Direct => "direct",
        PublishPath::Fallback => "fallback",
        _ => "stored",
    };
    Ok((StatusCode::ACCEPTED, path))
}

/// For an instance whose relay does not start by itself: one that first warms up, or that stands by.
async fn start_relay(State(platform): State<Arc<Platform>>) -> Result<String, Failure> {
    let state = platform.outbox.start().await.map_err(failure)?;
    Ok(format!("{state:?}"))
}

#[derive(Serialize)]
struct Figures {
    relay: String,
    delivered: u64,
    dead: u64,
    settled: u64,
    duplicates: u64,
}

async fn figures(State(platform): State<Arc<Platform>>) -> Json<Figures> {
    let (relay, settlement) = (platform.outbox.stats(), platform.settled());
    Json(Figures {
        relay: format!("{:?}", platform.outbox.state()),
        delivered: relay.delivered,
        dead: relay.dead,
        settled: settlement.applied,
        duplicates: settlement.duplicates,
    })
}

async fn ready(State(platform): State<Arc<Platform>>) -> (StatusCode, Json<outbox::observe::Readiness>) {
    let readiness = platform.outbox.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
