use crate::fixture::*;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

#[tokio::test]
async fn probe() {
    let servers = shared_servers();
    let topic = unique();
    create_topic(&servers, &topic, 3).await;
    for idem in ["false", "true"] {
        let producer: BaseProducer =
            client_config(&servers).set("enable.idempotence", idem).set("linger.ms", "1").create().unwrap();
        for round in 0..3 {
            for p in 0..3 {
                for i in 0..4 {
                    producer
                        .send(
                            BaseRecord::<str, str>::to(&topic)
                                .partition(p)
                                .payload(&format!("{round}/{p}/{i}"))
                                .key("k"),
                        )
                        .map_err(|e| e.0)
                        .unwrap();
                }
            }
            producer.flush(Duration::from_secs(5)).unwrap();
        }
        let consumer: BaseConsumer = client_config(&servers).create().unwrap();
        for p in 0..3 {
            println!("idem {idem} {p} {:?}", consumer.fetch_watermarks(&topic, p, Duration::from_secs(5)));
        }
        for m in read_topic(&servers, &topic).await {
            use rdkafka::Message;
            print!("{}@{} {} ", m.partition(), m.offset(), String::from_utf8_lossy(m.payload().unwrap()));
        }
        println!();
    }
}
